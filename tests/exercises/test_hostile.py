"""The check survives what it is given, and puts back what it finds changed."""

import builtins
import decimal
import gc
import locale
import logging
import math
import multiprocessing
import operator
import os
import random
import resource
import signal
import sys
import threading
import time
import tracemalloc
import types
import warnings
import weakref

import hostile
import matplotlib
import numpy as np
import pytest
import torch
from table import PATIENCE

from detlearn import check
from detlearn.check.engine import exercise as engine
from detlearn.check.engine import handed_in, sandbox, state
from detlearn.check.engine.cases import Case

HERE = hostile.HOSTILE

# An alarm that rings in a __del__ or in a callback of Python's is only printed, and comes again.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of a coroutine that nobody waits for
]


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """None fails on a slow machine, and none sees what the checks of another found."""
    monkeypatch.setattr(engine, "SECONDS", PATIENCE)
    engine.STATE.clear()
    yield
    engine.STATE.clear()


def name_of(function):
    return function.__name__ if type(function) is type(name_of) else type(function).__name__


@pytest.mark.alone
@pytest.mark.parametrize(
    "number",  # and not the function, whose methods pytest would call
    range(len(HERE)),
    ids=[name_of(function) for function, _ in HERE],
)
def test_nothing_harms_the_kernel(number, capsys, monkeypatch):
    function, message = HERE[number]
    if message == hostile.STOPPED:
        monkeypatch.setattr(engine, "SECONDS", 0.5)
        monkeypatch.setattr(sandbox, "RETRY", 0.05)
    before, started = state.snapshot(), time.monotonic()

    assert check.box_iou(function) is check.box_iou.reference

    assert time.monotonic() - started < 60
    assert state.differences(before) == []
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    said = capsys.readouterr()
    assert said.out.startswith("❌ Exercise 1.1, box_iou: ")
    assert message in said.out
    assert len(said.out) < 2_500
    assert all(len(line) < 500 for line in said.out.splitlines())
    assert said.err == ""


@pytest.mark.alone
def test_a_thread_whose_join_was_interrupted_is_ended(monkeypatch, capsys):
    """Python notes such a thread as ended while it runs on, and slows all that comes after."""
    monkeypatch.setattr(engine, "SECONDS", 0.5)
    monkeypatch.setattr(sandbox, "RETRY", 0.05)
    check.box_iou(hostile.waits_for_a_thread)

    # Its last exception may be on its way.
    deadline = time.monotonic() + 10
    while _runs(hostile.loops) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(hostile.loops)


def _runs(function):
    """Whether a thread is in a function just now."""
    return any(frame.f_code is function.__code__ for frame in sys._current_frames().values())


def test_there_are_enough_of_them():
    assert len(HERE) >= 100


@pytest.mark.alone
def test_the_next_check_works_after_all_of_them(monkeypatch, capsys):
    """One after the other, as in one notebook."""
    monkeypatch.setattr(engine, "SECONDS", 0.2)
    monkeypatch.setattr(sandbox, "RETRY", 0.02)
    for function, _ in HERE:
        check.box_iou(function)
    monkeypatch.setattr(engine, "SECONDS", PATIENCE)
    for name, exercise in check.EXERCISES.items():
        exercise(*handed_in(exercise, exercise.reference))
        assert engine.STATE[name] == "right"


# ---- time ----


@pytest.mark.alone
def test_a_function_that_ends_after_a_stop_of_another_is_not_hit(monkeypatch):
    """The alarm of one call never rings in the next."""
    monkeypatch.setattr(engine, "SECONDS", 0.1)
    monkeypatch.setattr(sandbox, "RETRY", 0.01)
    check.box_iou(hostile.loops_and_catches_everything)
    monkeypatch.setattr(engine, "SECONDS", PATIENCE)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    assert check.box_iou(check.box_iou.reference) is check.box_iou.reference
    assert engine.STATE["box_iou"] == "right"


@pytest.mark.alone
@pytest.mark.parametrize(
    "function", [hostile.loops, hostile.loops_and_catches_everything, hostile.zeros]
)
def test_another_thread_than_the_main_one_may_check(function, monkeypatch, capsys):
    monkeypatch.setattr(engine, "SECONDS", 0.5)
    monkeypatch.setattr(sandbox, "RETRY", 0.05)
    before = state.snapshot()
    thread = threading.Thread(target=check.box_iou, args=(function,))
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert state.differences(before) == []
    assert engine.STATE == {"box_iou": "wrong"}


@pytest.fixture
def interruptible():
    """A shell starts what it puts into the background with SIGINT ignored: nobody could press."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.alone
def test_the_reader_may_interrupt(interruptible):
    """A press on "stop" ends the check, even of a function that catches everything."""
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        check.box_iou(hostile.loops_and_catches_everything)
    assert time.monotonic() - started < 30
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.alone
def test_an_alarm_of_somebody_else_rings_later(capsys):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        check.box_iou(hostile.zeros)
        until = time.monotonic() + 5
        while len(rung) < 3 and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(rung) >= 3  # and again and again, as it was wound up


@pytest.mark.alone
def test_processor_time_may_be_limited_as_well():
    """Waiting does not count in it, and nothing of it is left behind."""
    case = Case("random", (torch.zeros(2),), "two zeros")
    handler = signal.getsignal(signal.SIGPROF)

    def waits(values):
        time.sleep(0.6)
        return values

    def works(values):
        while True:
            pass

    answers = engine.ask(waits, [case, case], 60, processor=1)
    assert [answer.trouble for answer in answers] == [None, None]

    before = time.process_time()
    (stopped,) = engine.ask(works, [case, case], 60, processor=0.2)
    assert stopped.trouble.kind == "timeout"
    assert stopped.trouble.message == "your function was stopped after 0.2 seconds"
    assert time.process_time() - before < 20

    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
    assert signal.getsignal(signal.SIGPROF) == handler


# ---- what is not the learner's fault, or is ----


def test_a_learners_own_stub_is_blank_and_torchs_refusal_is_not():
    case = Case("random", (torch.zeros(1, 4),), "a box")

    def stub(boxes):
        raise NotImplementedError("Exercise 1.1")

    def in_a_helper(boxes):
        return stub(boxes)

    def by_the_class(boxes):
        raise NotImplementedError

    def in_torch(boxes):
        return torch.nn.Module()(boxes)

    def in_compiled_torch(boxes):
        return torch.empty_strided((2,), (1,), device="meta").to("cpu")

    kinds = [
        sandbox.call(f, case).trouble.kind
        for f in (stub, in_a_helper, by_the_class, in_torch, in_compiled_torch)
    ]
    assert kinds == ["blank", "blank", "blank", "exception", "exception"]


def test_lists_among_the_arguments_are_copies():
    sizes = [(10, 20), (30, 40)]
    case = Case("random", (sizes, (torch.zeros(2), 3)), "a list")

    def writes(sizes, pair):
        sizes.append((1, 1))
        pair[0].add_(1)
        return torch.zeros(1)

    # A list of its own is emptied without harm; what it holds is the caller's.
    assert sandbox.call(writes, case).changed == (1,)
    assert sizes == [(10, 20), (30, 40)]
    assert case.args[1][0].tolist() == [0, 0]


def test_of_many_small_prints_the_first_are_kept():
    def prints(boxes):
        for _ in range(1_000):
            print("x" * 99)

    printed = sandbox.call(prints, Case("random", (torch.zeros(1, 4),), "a box")).printed
    kept, more = printed.split("…")
    assert len(kept.rstrip()) <= sandbox.KEPT_CHARACTERS
    assert more == f" and {100_000 - sandbox.KEPT_CHARACTERS:,} more characters"


@pytest.mark.alone
def test_the_readers_own_settings_do_not_matter(capsys):
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    try:
        for exercise in check.EXERCISES.values():
            exercise(*handed_in(exercise, exercise.reference))
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
        assert not torch.is_grad_enabled()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
    assert set(engine.STATE.values()) == {"right"}


# ---- the list of global state ----


class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Dispatch(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return operation(*args, **(kwargs or {}))


def leave_a_thread():
    threading.Thread(target=hostile.loops, args=(0, 0), daemon=True).start()


def leave_a_process():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,)).start()


def lower_limits():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))


def spoil_the_collector():
    gc.disable()
    gc.set_threshold(7)
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)
    gc.callbacks.append(print)


def spoil_python():
    sys.setrecursionlimit(5_000)
    sys.setswitchinterval(0.1)
    sys.set_int_max_str_digits(5_000)


def spoil_logging():
    logging.root.setLevel(7)
    logging.root.disabled = True
    logging.root.addHandler(logging.NullHandler())
    logging.disable(50)


def spoil_functions():
    torch.equal = torch.Tensor.add = np.dot = random.random = check.solution = print


def spoil_the_environment():
    os.environ.update(TZ="Asia/Tokyo", NONSENSE="1")
    del os.environ["PATH"]


def cast():
    for kind in ("cpu", "cuda"):
        torch.set_autocast_enabled(kind, True)
        torch.set_autocast_dtype(kind, torch.float32)


def determine():
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def spoil_precision():
    torch.set_float32_matmul_precision("medium")
    for flag in ("enabled", "benchmark", "deterministic", "allow_tf32"):
        setattr(torch.backends.cudnn, flag, not getattr(torch.backends.cudnn, flag))


def infer():
    guard = torch.inference_mode()
    guard.__enter__()
    hostile.GUARDS.append(guard)


# How each piece of `SETTINGS` is spoiled, in all of its parts where it has several. A new one
# without its line here is a red test.
SPOIL = {
    "builtins": lambda: vars(builtins).update(hex=print, nonsense=1),
    "trace function": lambda: sys.settrace(lambda *_: None),
    "profile function": lambda: sys.setprofile(lambda *_: None),
    "functions of modules": spoil_functions,
    "modules": lambda: sys.modules.pop("random"),
    "default device and modes": lambda: (torch.set_default_device("meta"), Mode().__enter__()),
    "torch's dispatch modes": lambda: Dispatch().__enter__(),
    "threads": leave_a_thread,
    "processes": leave_a_process,
    "warning filters": lambda: warnings.simplefilter("error"),
    "import path": lambda: sys.path.insert(0, "/nowhere"),
    "importers": lambda: sys.meta_path.clear(),
    "command line": lambda: sys.argv.append("--nonsense"),
    "limits of Python": spoil_python,
    "garbage collector": spoil_the_collector,
    "logging": spoil_logging,
    "tracing of memory": tracemalloc.start,
    "decimal numbers": lambda: setattr(decimal.getcontext(), "prec", 3),
    "environment": spoil_the_environment,
    "working directory": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0o777),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8" if is_c() else "C"),
    "signal handlers": lambda: signal.signal(signal.SIGUSR1, print),
    "timers": lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 1000),
    "blocked signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]),
    "limits of the system": lower_limits,
    "random's generator": lambda: random.seed(7),
    "NumPy's generator": lambda: np.random.seed(7),  # noqa: NPY002
    "torch's generator": lambda: torch.manual_seed(7),
    "torch's generators on GPUs": None,  # this machine may have none
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "gradients": lambda: torch.set_grad_enabled(False),
    "inference mode": infer,
    "autocast": cast,
    "determinism": determine,
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "precision of matrix products": spoil_precision,
    "denormal numbers": lambda: torch.set_flush_denormal(True),
    "torch's warnings": lambda: torch.set_warn_always(True),
    "torch's printing": lambda: torch.set_printoptions(precision=1, sci_mode=True),
    "NumPy's printing": lambda: np.set_printoptions(precision=1),
    "NumPy's errors": lambda: (np.seterr(all="raise"), np.seterrcall(print)),
    "matplotlib's settings": lambda: matplotlib.rcParams.update({"font.size": 3.0}),
}


def is_c():
    return locale.setlocale(locale.LC_ALL) == "C"


def test_every_piece_of_the_list_can_be_read_and_is_spoiled_here():
    names = [setting.name for setting in state.SETTINGS]
    assert names == [*SPOIL]
    assert [setting.name for setting, _ in state.snapshot()] == names


@pytest.mark.alone
@pytest.mark.parametrize("name", [name for name, spoil in SPOIL.items() if spoil])
def test_what_is_spoiled_is_put_back(name, capsys):
    (setting,) = (setting for setting in state.SETTINGS if setting.name == name)
    before, noticed = state.snapshot(), []

    def spoils(boxes1, boxes2):
        own = setting.read()
        SPOIL[name]()
        noticed.append(setting.same(own, setting.read()))
        return torch.zeros(1, 1, device="cpu", dtype=torch.float32)

    check.box_iou(spoils)
    assert noticed and not any(noticed)  # so this test can fail
    assert state.differences(before) == []


# ---- the names of modules ----


@pytest.fixture(params=[True, False], ids=["counted", "compared"])
def counted(request, monkeypatch):
    """Whether dicts count their changes, as until Python 3.12, or names have to be compared."""
    if request.param and not state.COUNTED:
        pytest.skip("this Python does not tell that a dict was written into")
    monkeypatch.setattr(state, "COUNTED", request.param)
    return request.param


@pytest.mark.alone
@pytest.mark.parametrize("name", ["functions of modules", "modules"])
def test_names_are_put_back_after_every_call(name, counted, capsys):
    before, own = state.snapshot(), (torch.equal, torch.Tensor.add, check.solution, random)
    found = []

    def spoils(boxes1, boxes2):
        now = (torch.equal, torch.Tensor.add, check.solution, sys.modules.get("random"))
        found.append(all(map(operator.is_, now, own)))
        SPOIL[name]()
        return torch.zeros(len(boxes1), len(boxes2))

    check.box_iou(spoils)
    assert len(found) > 10 and all(found)
    assert state.differences(before) == []


def test_every_change_of_a_dict_is_counted():
    if not state.COUNTED:
        pytest.skip("this Python does not tell that a dict was written into")
    names = {"a": 1, "b": 2}
    for change in (
        lambda: names.update(a=2),
        lambda: names.update(c=3),
        lambda: names.pop("b"),
        lambda: names.setdefault("d", 4),
        lambda: names.clear(),
    ):
        copied = state.Copied(names)
        assert copied.is_untouched() and copied.now() is copied
        change()
        assert not copied.is_untouched()
        assert copied.now().names == names and copied.now().is_untouched()

    # One that was written into and put back may hold another object that says it is equal.
    names["a"] = 1
    copied = state.Copied(names)
    names["a"] = True
    assert not copied.is_untouched()


def test_names_that_nobody_wrote_into_are_copied_once(counted):
    names = {"a": 1}
    first = state.Copied.of(names)
    assert (state.Copied.of(names) is first) == counted
    names["a"] = 2
    assert state.Copied.of(names).names == {"a": 2}


def test_what_was_just_put_back_is_not_read_again(monkeypatch):
    reads = []
    once = state.Setting("once", lambda: reads.append("once"), print, state.same)
    anew = state.Setting("anew", lambda: 0, print, state.same, read_anew=lambda value: value + 1)
    monkeypatch.setattr(state, "SETTINGS", (once, anew))
    later = state.snapshot(state.snapshot())
    assert reads == ["once"] and later == [(once, None), (anew, 1)]


def test_other_settings_of_matplotlib_in_place_of_the_first_are_noticed(monkeypatch):
    before = state.snapshot()
    smaller = {**dict(dict.items(matplotlib.rcParams)), "font.size": 3.0}
    monkeypatch.setattr(matplotlib, "rcParams", smaller)
    assert state.differences(before) == ["matplotlib's settings"]
    state.restore(before)
    assert state.differences(before) == [] and smaller["font.size"] != 3.0


def test_to_look_at_matplotlibs_settings_chooses_no_backend(monkeypatch):
    """To ask for it in matplotlib's own way would, for good."""
    undecided = matplotlib.rcsetup._auto_backend_sentinel
    own = dict.__getitem__(matplotlib.rcParams, "backend")
    dict.__setitem__(matplotlib.rcParams, "backend", undecided)
    try:
        state.restore(state.snapshot())
        assert dict.__getitem__(matplotlib.rcParams, "backend") is undecided
    finally:
        dict.__setitem__(matplotlib.rcParams, "backend", own)


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_is_limited_during_a_check_and_not_after_it():
    before = resource.getrlimit(resource.RLIMIT_DATA)

    def takes(numbers):
        return torch.empty(5 * 2**30, dtype=torch.uint8)

    asked = [Case("random", (torch.ones(2),), "numbers")]
    (answer,) = engine.ask(takes, asked)
    assert answer.trouble.kind == "memory"
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_an_exception_that_python_keeps_is_not_kept_longer(monkeypatch):
    """Its frames may hold a network and its batch."""

    class Kept(Exception):
        pass

    error = Kept()
    gone = weakref.ref(error)
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    state.snapshot(state.snapshot())
    monkeypatch.setattr(sys, "last_value", None)
    monkeypatch.undo()
    del error
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kept", [False, True], ids=["even", "odd"])
def test_every_draw_of_numpys_generator_is_noticed(kept):
    """Normal numbers are drawn in pairs: every other one leaves the generator itself alone."""
    (setting,) = (each for each in state.SETTINGS if each.name == "NumPy's generator")
    before = state.snapshot()
    generator = np.random.mtrand._rand
    generator.seed(5)
    if kept:
        generator.normal()

    own = setting.read()
    assert setting.same(own, setting.look())
    drawn = generator.normal()
    assert not setting.same(own, setting.look())
    setting.write(own)
    assert setting.same(own, setting.look()) and generator.normal() == drawn
    state.restore(before)
    assert state.differences(before) == []


@pytest.mark.parametrize("space", [math, torch, torch.Tensor, torch.nn.Module])
def test_an_exchanged_function_is_noticed_wherever_it_stands(space, counted, monkeypatch):
    before = state.snapshot()
    assert state.differences(before) == []
    with monkeypatch.context() as patch:
        patch.setattr(space, "__doc__" if space is math else "type", "another", raising=False)
        assert state.differences(before) == ["functions of modules"]
    assert state.differences(before) == []


def test_a_snapshot_made_of_an_earlier_one_is_as_good(counted, monkeypatch):
    """What was changed in between, and modules that were loaded in between, are in it."""
    earlier = state.snapshot()
    loaded = types.ModuleType("detlearn.loaded_in_between")
    monkeypatch.setitem(sys.modules, loaded.__name__, loaded)
    monkeypatch.setattr(torch, "equal", torch.allclose)

    later = state.snapshot(earlier)
    assert state.differences(later) == []
    loaded.clone = print
    assert state.differences(later) == ["functions of modules"]
    torch.equal = max
    state.restore(later)
    assert state.differences(later) == []
    assert torch.equal is torch.allclose and not hasattr(loaded, "clone")

    # Nothing happened: nothing is copied again.
    again = state.snapshot(later)
    if counted:
        spaces = {setting.name: value for setting, value in again}["functions of modules"].spaces
        known = {setting.name: value for setting, value in later}["functions of modules"].spaces
        kept = sum(one is other for (_, one), (_, other) in zip(spaces, known))
        assert kept > 0.9 * len(known)


@pytest.mark.alone
def test_each_call_has_its_own_alarm_when_what_was_put_back_is_read_again():
    """A hook runs while the answer is read, after what the function left behind was put back."""
    alarms, left = [], []

    def look(gradient):
        alarms.append(signal.getsignal(signal.SIGALRM).__self__)
        left.append(signal.getitimer(signal.ITIMER_PROF)[0])
        return gradient

    def takes_its_time(numbers):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, 0)
        ends = time.process_time() + 0.5
        while time.process_time() < ends:
            pass
        answer = 2 * numbers
        answer.register_hook(look)
        return answer

    asked = [Case("gradient", (torch.ones(2),), "numbers", gradient=True) for _ in range(3)]
    # On the clock there is time enough: with its default action the alarm would end the tests.
    answers = engine.ask(takes_its_time, asked, seconds=1_000.0, processor=5.0)
    assert [answer.trouble for answer in answers] == [None] * 3
    assert len(set(alarms)) == 3
    assert 5.1 > left[0] > left[1] + 0.4 > left[2] + 0.8


@pytest.mark.alone
def test_a_warning_that_was_shown_once_is_shown_again(monkeypatch, capsys):
    """Python keeps what it decided by the learner's filters until it is told that they are gone."""
    shown = []

    def warn():
        warnings.warn("look out", stacklevel=1)

    def warns(boxes1, boxes2):
        warnings.simplefilter("once")
        warn()
        return torch.zeros(1, 1)

    monkeypatch.setattr(warnings, "showwarning", lambda *_: shown.append(True))
    warnings.simplefilter("always")
    check.box_iou(warns)
    shown.clear()
    warn()
    assert shown == [True]


def test_other_objects_are_noticed_and_none_of_their_methods_is_called():
    class Liar:
        def __eq__(self, other):
            raise ValueError("who asks?")

        __hash__ = None

    one, other = Liar(), Liar()
    assert state.same({"a": [one, 1]}, {"a": [one, 1]})
    assert not state.same({"a": [one, 1]}, {"a": [other, 1]})
    assert state.same([one, 10**9], [one, int("1000000000")])
    assert not state.same([1], [True])
    assert not state.same([1, 2], [1])
    assert not state.same({"a": 1}, {"b": 1})
    assert state.same(torch.ones(2), torch.ones(2)) and not state.same(torch.ones(2), torch.ones(1))
    assert state.same_or_more({"a": one}, {"a": one, "b": other})
    assert not state.same_or_more({"a": one}, {"a": other})
    assert not state.same_or_more({"a": one}, {"b": one})


def test_a_piece_that_cannot_be_read_or_written_stops_nothing(monkeypatch):
    def fails(*_):
        raise OSError("not here")

    broken = state.Setting("broken", fails, fails, state.same)
    stuck = state.Setting("stuck", lambda: object(), fails, state.same)
    monkeypatch.setattr(state, "SETTINGS", (state.SETTINGS[0], broken, stuck))
    before = state.snapshot()
    assert [setting.name for setting, _ in before] == ["builtins", "stuck"]
    state.restore(before)


def test_a_thread_of_the_learners_ends_in_silence(capfd):
    before = state.snapshot()
    leave_a_thread()
    state.restore(before)
    assert state.differences(before) == []
    assert capfd.readouterr().err == ""


@pytest.mark.alone
@pytest.mark.parametrize("seconds", [1.0, 1_000_000.0], ids=["slowly", "never"])
def test_a_thread_has_time_to_say_why_it_ends(seconds, monkeypatch):
    """Told again while it reports, it would break off there, which is not silent."""
    reported = []

    def report(_):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        reported.append(True)

    monkeypatch.setattr(threading, "excepthook", report)
    before = state.snapshot()
    leave_a_thread()
    state.restore(before)
    assert state.differences(before) == []
    assert reported == ([True] if seconds < state.PATIENCE_WITH_THREADS / 2 else [])


def test_a_thread_is_waited_for_though_a_join_was_interrupted():
    """After that `join` and `is_alive` say that it has ended, while it runs on."""

    def ends_slowly():
        try:
            while True:
                pass
        finally:
            time.sleep(0.15)

    def interrupt(*_):
        raise InterruptedError

    before = state._read_threads()
    thread = threading.Thread(target=ends_slowly)
    others = signal.signal(signal.SIGALRM, interrupt)
    try:
        thread.start()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptedError):
            thread.join()
    finally:
        signal.signal(signal.SIGALRM, others)

    state._end_threads(before)
    assert thread.ident not in sys._current_frames()
