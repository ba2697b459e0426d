"""Functions that no check should be given, and what it must say of each.

They are handed in for exercise 1.1, so they take two lists of boxes. `HOSTILE` lists them, each
with a piece of the sentence that the reader must see.
"""

# ruff: noqa: NPY002

import asyncio
import atexit
import builtins
import collections
import contextlib
import functools
import gc
import io
import os
import queue
import random
import re
import signal
import sys
import threading
import time
import unittest.mock
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from detlearn.boxes import box_iou

STOPPED = "stopped after 0.5 seconds"
ORDINARY = "expected an ordinary one of real numbers"
NO_TENSOR = "expected a torch.Tensor"


def zeros(boxes1, boxes2):
    """What many of them return: the right kind of thing, and wrong."""
    return torch.zeros(len(boxes1), len(boxes2))


# ---- they do not end ----


def loops(boxes1, boxes2):
    while True:
        pass


def loops_and_catches_everything(boxes1, boxes2):
    count = 0
    while True:
        try:
            count += 1
        except BaseException:
            pass


def loops_until_it_is_stopped_and_goes_on(boxes1, boxes2):
    try:
        while True:
            pass
    except BaseException:
        return zeros(boxes1, boxes2)


def loops_in_a_clean_up(boxes1, boxes2):
    try:
        return zeros(boxes1, boxes2)
    finally:
        while True:
            pass


def sleeps(boxes1, boxes2):
    time.sleep(100)


def sleeps_and_catches_everything(boxes1, boxes2):
    while True:
        try:
            time.sleep(100)
        except BaseException:
            boxes1 = boxes1.clone()


def takes_the_alarm_away_and_loops(boxes1, boxes2):
    signal.alarm(0)
    while True:
        pass


def takes_the_timer_away_and_sleeps(boxes1, boxes2):
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(100)


def ignores_the_alarm(boxes1, boxes2):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        pass


def has_an_alarm_of_its_own(boxes1, boxes2):
    signal.signal(signal.SIGALRM, lambda *_: None)
    while True:
        pass


def blocks_every_signal(boxes1, boxes2):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        pass


def waits_for_itself(boxes1, boxes2):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def waits_for_a_queue(boxes1, boxes2):
    queue.SimpleQueue().get()


def waits_for_a_thread(boxes1, boxes2):
    thread = threading.Thread(target=loops, args=(0, 0))
    thread.start()
    thread.join()


def calls_compiled_code_that_takes_long(boxes1, boxes2):
    return sum(range(10**8))


def matches_a_terrible_pattern(boxes1, boxes2):
    return re.match("(a+)+$", "a" * 60 + "b")


def recurses_without_limit(boxes1, boxes2):
    sys.setrecursionlimit(10**8)
    return recurses_without_limit(boxes1, boxes2)


def watches_each_step_for_ever(boxes1, boxes2):
    sys.settrace(lambda *_: loops(0, 0))
    return zeros(boxes1, boxes2)


def profiles_for_ever(boxes1, boxes2):
    sys.setprofile(lambda *_: loops(0, 0))
    return zeros(boxes1, boxes2)


class Endless(Exception):
    def __str__(self):
        loops(0, 0)


def raises_what_never_ends_to_speak(boxes1, boxes2):
    raise Endless


class Undying:
    def __del__(self):
        loops(0, 0)


def returns_what_does_not_die(boxes1, boxes2):
    return Undying()


class EndlessTuple(tuple):
    def __iter__(self):
        while True:
            yield torch.zeros(1)


def returns_an_endless_tuple(boxes1, boxes2):
    return EndlessTuple([torch.zeros(1), torch.zeros(1)])


class EndlessBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, boxes1, boxes2):
        return box_iou(boxes1, boxes2)  # right, so that the check comes to the gradient

    @staticmethod
    def backward(ctx, gradient):
        loops(0, 0)


def never_ends_to_differentiate(boxes1, boxes2):
    return EndlessBackward.apply(boxes1, boxes2)


# ---- they take more memory than there is ----


def takes_a_huge_tensor(boxes1, boxes2):
    return torch.zeros(25 * 10**9)


def takes_more_than_its_share(boxes1, boxes2):
    return torch.empty(6 * 2**30, dtype=torch.uint8)[:1]  # the machine would give it


def takes_a_huge_list(boxes1, boxes2):
    return [0] * (12 * 10**9)


def returns_a_huge_view(boxes1, boxes2):
    return torch.zeros(1).expand(25 * 10**9)


# ---- they return something else ----


def wrong_dtype(boxes1, boxes2):
    return zeros(boxes1, boxes2).long()


def wrong_shape(boxes1, boxes2):
    return torch.zeros(len(boxes2), len(boxes1), 1)


def many_dimensions(boxes1, boxes2):
    return torch.zeros([1] * 64)


def complex_numbers(boxes1, boxes2):
    return zeros(boxes1, boxes2).to(torch.complex64)


def sparse(boxes1, boxes2):
    return zeros(boxes1, boxes2).to_sparse()


def no_numbers_behind_it(boxes1, boxes2):
    return torch.zeros(len(boxes1), len(boxes2), device="meta")


def eight_bits(boxes1, boxes2):
    return zeros(boxes1, boxes2).to(torch.float8_e4m3fn)


def quantised(boxes1, boxes2):
    warnings.simplefilter("ignore")  # torch warns that it is old
    return torch.quantize_per_tensor(zeros(boxes1, boxes2), 0.1, 0, torch.qint8)


def nested(boxes1, boxes2):
    warnings.simplefilter("ignore")  # torch warns that it is young
    return torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])


def jagged(boxes1, boxes2):
    return torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)], layout=torch.jagged)


def batched(boxes1, boxes2):
    leaked = []
    torch.vmap(lambda row: leaked.append(row) or row)(boxes2)
    return leaked[0]


def without_memory(boxes1, boxes2):
    result = torch.zeros(100, 100)
    result.untyped_storage().resize_(0)
    return result


def with_other_methods(boxes1, boxes2):
    result = zeros(boxes1, boxes2)
    result.detach = result.clone = result.size = result.numel = lambda *_: 1 / 0
    return result


class Answering(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        loops(0, 0)


def a_tensor_that_answers_itself(boxes1, boxes2):
    return zeros(boxes1, boxes2).as_subclass(Answering)


class Dispatching(Tensor):
    @staticmethod
    def __new__(cls, shape):
        return Tensor._make_wrapper_subclass(cls, shape)

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise RuntimeError("no")


def a_tensor_that_is_none(boxes1, boxes2):
    return Dispatching((len(boxes1), len(boxes2)))


class Masked:
    @property
    def __class__(self):
        raise ValueError("who asks?")

    @property
    def shape(self):
        raise ValueError("who asks?")

    def __getattr__(self, name):
        raise ValueError("who asks?")

    def __repr__(self):
        raise ValueError("who asks?")

    __eq__ = __len__ = __iter__ = __bool__ = __hash__ = __repr__


def returns_what_says_nothing(boxes1, boxes2):
    return Masked()


class Nameless(type):
    @property
    def __name__(cls):
        raise ValueError("no name")


class Unnamed(metaclass=Nameless):
    pass


def returns_what_has_no_name(boxes1, boxes2):
    return Unnamed()


class Number(float):
    def __float__(self):
        loops(0, 0)


def returns_a_number_of_its_own(boxes1, boxes2):
    return Number(0.5)


def returns_a_number_too_large(boxes1, boxes2):
    return 10**30


def returns_nothing(boxes1, boxes2):
    boxes1 + boxes2[:1]


def yields(boxes1, boxes2):
    yield boxes1


async def waits(boxes1, boxes2):
    return boxes1


Pair = collections.namedtuple("Pair", "iou union")


def returns_two(boxes1, boxes2):
    return Pair(zeros(boxes1, boxes2), zeros(boxes1, boxes2))


def returns_a_million(boxes1, boxes2):
    return (torch.zeros(1),) * 10**6


# ---- they raise ----


def raises_key_error(boxes1, boxes2):
    return {"a": boxes1}["b"]


def leaves(boxes1, boxes2):
    sys.exit(3)


def recurses(boxes1, boxes2):
    return recurses(boxes1, boxes2)


class Speechless(Exception):
    def __str__(self):
        raise ValueError("not even a message")


def raises_what_cannot_be_printed(boxes1, boxes2):
    raise Speechless


class Text(str):
    def __getitem__(self, key):
        raise ValueError("no letters")

    __format__ = __len__ = __str__ = __contains__ = __getitem__


class WithText(Exception):
    def __str__(self):
        return Text("a text of its own")


def raises_a_text_of_its_own(boxes1, boxes2):
    raise WithText


def raises_a_long_text(boxes1, boxes2):
    raise ValueError("long " * 10**6)


def raises_a_base_exception(boxes1, boxes2):
    raise BaseException("the base")


def raises_generator_exit(boxes1, boxes2):
    raise GeneratorExit


class Interrupt(KeyboardInterrupt):
    pass


def interrupts(boxes1, boxes2):
    raise KeyboardInterrupt


def interrupts_in_its_own_way(boxes1, boxes2):
    raise Interrupt("stop")


def raises_in_torch(boxes1, boxes2):
    return nn.Module()(boxes1)  # not its own NotImplementedError


def raises_in_compiled_torch(boxes1, boxes2):
    return torch.zeros(3, device="meta").item() + torch.zeros(2).to_sparse().flip(0)


def raises_many(boxes1, boxes2):
    raise ExceptionGroup("both", [ValueError(1), TypeError(2)])


def raises_in_backward(boxes1, boxes2):
    result = zeros(boxes1, boxes2) + 0 * boxes1.sum()
    if result.requires_grad:
        result.register_hook(lambda gradient: 1 / 0)
    return result


def makes_warnings_errors(boxes1, boxes2):
    warnings.simplefilter("error")
    warnings.warn("look out", stacklevel=2)


def takes_one(boxes1):
    return boxes1


def takes_three(boxes1, boxes2, boxes3):
    return boxes1


def helps_itself_wrongly(boxes1, boxes2):
    return takes_three(boxes1, boxes2)


class Callable:
    def __call__(self, *args):
        return zeros(*args)

    def __getattr__(self, name):
        raise ValueError("who asks?")


# ---- they write into what they are given ----


def writes_into_its_arguments(boxes1, boxes2):
    boxes2.zero_()
    return zeros(boxes1, boxes2)


def resizes_its_arguments(boxes1, boxes2):
    boxes2.resize_(0)
    return torch.zeros(len(boxes1), 1)


def takes_the_memory_of_its_arguments(boxes1, boxes2):
    boxes1.untyped_storage().resize_(0)
    return zeros(boxes1, boxes2)


def changes_the_class_of_its_arguments(boxes1, boxes2):
    boxes1.__class__ = Answering
    return torch.zeros(1, 1)


def sets_other_numbers(boxes1, boxes2):
    boxes1.data = torch.zeros(0, dtype=torch.float16)
    return torch.zeros(1, 1)


def deletes_its_arguments(boxes1, boxes2):
    del boxes1, boxes2


# ---- they print, or break what is printed to ----


def prints_megabytes(boxes1, boxes2):
    for _ in range(40):
        print("x" * 100_000)
    print("x" * 100_000, file=sys.stderr)
    return torch.zeros(1, 1)


def prints_a_text_of_its_own(boxes1, boxes2):
    sys.stdout.write(Text("letters only"))
    return torch.zeros(1, 1)


def closes_the_output(boxes1, boxes2):
    for output in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        output.close()
    print("and goes on")
    return torch.zeros(1, 1)


def takes_the_output_away(boxes1, boxes2):
    sys.stdout = sys.stderr = sys.__stdout__ = None
    return torch.zeros(1, 1)


def keeps_the_output(boxes1, boxes2):
    sys.stdout.kept, sys.stdout.written = 3, "x"
    return torch.zeros(1, 1)


# ---- they break what the check is made of ----


def switches_things_off(boxes1, boxes2):
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    sys.setrecursionlimit(5_000)
    return (torch.rand(1, 1) + random.random() + np.random.rand()).float()


def patches_python(boxes1, boxes2):
    builtins.len = builtins.isinstance = builtins.str = builtins.zip = None


def patches_torch(boxes1, boxes2):
    Tensor.detach = Tensor.clone = torch.equal = torch.zeros = lambda *_: loops(0, 0)
    return boxes1


def patches_the_check(boxes1, boxes2):
    from detlearn.check.engine import cases, exercise, sandbox, state

    sandbox._plain = sandbox._trouble = state.same = state.restore = None
    cases.fault = exercise.judge = exercise.call = lambda *_: None


def forgets_all_modules(boxes1, boxes2):
    sys.modules.clear()


class Falsifying(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        loops(0, 0)


def answers_for_torch_from_now_on(boxes1, boxes2):
    result = torch.zeros(1, 1)
    Falsifying().__enter__()
    return result


def works_elsewhere_from_now_on(boxes1, boxes2):
    torch.set_default_device("meta")
    return torch.zeros(1, 1)


GUARDS = []  # which would undo themselves if they were forgotten


def infers_from_now_on(boxes1, boxes2):
    guard = torch.inference_mode()
    guard.__enter__()
    GUARDS.append(guard)
    return torch.zeros(1, 1) + boxes1.sum() * 0


def patches_with_what_does_not_die(boxes1, boxes2):
    torch.equal = Undying()
    return torch.zeros(1, 1)


def collects_garbage_in_its_own_way(boxes1, boxes2):
    gc.callbacks.append(lambda *_: loops(0, 0))
    gc.collect()  # or else chance says whether it happens before the list is put back
    return torch.zeros(1, 1)


def leaves_threads_behind(boxes1, boxes2):
    for _ in range(3):
        threading.Thread(target=loops, args=(0, 0), daemon=True).start()
    return torch.zeros(1, 1)


def splits_itself(boxes1, boxes2):
    os.fork()  # and both go on
    return torch.zeros(1, 1)


def comes_back_at_the_end(boxes1, boxes2):
    atexit.register(lambda: None)
    return torch.zeros(1, 1)


def lowers_the_limit_of_recursion(boxes1, boxes2):
    with contextlib.suppress(RecursionError):
        sys.setrecursionlimit(130)
    return torch.zeros(1, 1)


def runs_a_loop_of_events(boxes1, boxes2):
    return asyncio.run(waits(torch.zeros(1, 1), 0))


WRONG = "the IoU[0, 0] is 0.0000; expected 0.3333"

HOSTILE = [
    (loops, STOPPED),
    (loops_and_catches_everything, STOPPED),
    (loops_until_it_is_stopped_and_goes_on, STOPPED),
    (loops_in_a_clean_up, STOPPED),
    (sleeps, STOPPED),
    (sleeps_and_catches_everything, STOPPED),
    (takes_the_alarm_away_and_loops, STOPPED),
    (takes_the_timer_away_and_sleeps, STOPPED),
    (ignores_the_alarm, STOPPED),
    (has_an_alarm_of_its_own, STOPPED),
    (blocks_every_signal, STOPPED),
    (waits_for_itself, STOPPED),
    (waits_for_a_queue, STOPPED),
    (waits_for_a_thread, STOPPED),
    (calls_compiled_code_that_takes_long, STOPPED),
    (matches_a_terrible_pattern, STOPPED),
    (recurses_without_limit, STOPPED),
    (watches_each_step_for_ever, STOPPED),
    (profiles_for_ever, STOPPED),
    (raises_what_never_ends_to_speak, STOPPED),
    (returns_what_does_not_die, STOPPED),
    (returns_an_endless_tuple, "returned 2 value(s); expected 1: the IoU"),
    (never_ends_to_differentiate, STOPPED),
    (takes_a_huge_tensor, "more memory than there is"),
    (takes_more_than_its_share, "more memory than there is"),
    (takes_a_huge_list, "more memory than there is"),
    (returns_a_huge_view, "more memory than there is"),
    (wrong_dtype, "the IoU has dtype int64; expected float32"),
    (lambda *args: zeros(*args).int(), "the IoU has dtype int32; expected float32"),
    (lambda *args: zeros(*args).double(), "the IoU has dtype float64; expected float32"),
    (lambda *args: zeros(*args).half(), "the IoU has dtype float16; expected float32"),
    (lambda *args: zeros(*args).bool(), "the IoU has dtype bool; expected float32"),
    (wrong_shape, "the IoU has shape (1, 1, 1); expected (1, 1)"),
    (many_dimensions, "the IoU has shape (1, 1, 1, "),
    (complex_numbers, f"torch.complex64; {ORDINARY}"),
    (sparse, f"torch.sparse_coo, cpu, torch.float32; {ORDINARY}"),
    (no_numbers_behind_it, f"meta, torch.float32; {ORDINARY}"),
    (eight_bits, f"torch.float8_e4m3fn; {ORDINARY}"),
    (quantised, f"torch.qint8; {ORDINARY}"),
    (nested, f"returned a nested tensor; {ORDINARY}"),
    (jagged, f"NestedTensor; {NO_TENSOR}"),
    (batched, f"returned a tensor without memory behind it; {ORDINARY}"),
    (without_memory, f"returned a tensor without memory behind it; {ORDINARY}"),
    (with_other_methods, WRONG),
    (a_tensor_that_answers_itself, f"returned an Answering; {NO_TENSOR}"),
    (a_tensor_that_is_none, f"returned a Dispatching; {NO_TENSOR}"),
    (returns_what_says_nothing, f"returned a Masked; {NO_TENSOR}"),
    (returns_what_has_no_name, f"returned an Unnamed; {NO_TENSOR}"),
    (returns_a_number_of_its_own, f"returned a Number; {NO_TENSOR}"),
    (returns_a_number_too_large, f"returned an int that fits into no tensor; {NO_TENSOR}"),
    (returns_nothing, "returned None; is a return statement missing?\n"),
    (lambda boxes1, boxes2: "0.5", f"returned a str; {NO_TENSOR}"),
    (lambda boxes1, boxes2: [[0.5]], f"returned a list; {NO_TENSOR}"),
    (lambda boxes1, boxes2: np.zeros((1, 1)), f"returned a numpy array; {NO_TENSOR}"),
    (lambda boxes1, boxes2: {}, f"returned a dict; {NO_TENSOR}"),
    (lambda boxes1, boxes2: loops, f"returned a function; {NO_TENSOR}"),
    (lambda boxes1, boxes2: Tensor, f"returned a _TensorMeta; {NO_TENSOR}"),
    (lambda boxes1, boxes2: unittest.mock.MagicMock(), f"returned a MagicMock; {NO_TENSOR}"),
    (lambda boxes1, boxes2: 0.5, "the IoU has shape (); expected (1, 1)"),
    (lambda boxes1, boxes2: (), "returned 0 value(s); expected 1: the IoU"),
    (yields, f"returned a generator; {NO_TENSOR}"),
    (waits, f"returned a coroutine; {NO_TENSOR}"),
    (returns_two, "returned 2 value(s); expected 1: the IoU"),
    (returns_a_million, "returned 1000 value(s); expected 1: the IoU"),
    (raises_key_error, "raises KeyError: 'b'.\n"),
    (leaves, "calls exit(); return a value instead"),
    (recurses, "RecursionError"),
    (raises_what_cannot_be_printed, "raises Speechless.\n"),
    (raises_a_text_of_its_own, "raises WithText: a text of its own.\n"),
    (raises_a_long_text, "raises ValueError: long long"),
    (raises_a_base_exception, "raises BaseException: the base.\n"),
    (raises_generator_exit, "raises GeneratorExit.\n"),
    (interrupts, "raises KeyboardInterrupt.\n"),
    (interrupts_in_its_own_way, "raises Interrupt: stop.\n"),
    (raises_in_torch, "raises NotImplementedError: Module"),
    (raises_in_compiled_torch, "raises "),
    (raises_many, "raises ExceptionGroup: both"),
    (raises_in_backward, "expected 0.3333"),
    (makes_warnings_errors, "raises UserWarning: look out.\n"),
    (takes_one, "the check calls it with 2 arguments"),
    (takes_three, "the check calls it with 2 arguments"),
    (functools.partial(zeros, torch.zeros(1)), "the check calls it with 2 arguments"),
    (helps_itself_wrongly, "missing 1 required positional argument: 'boxes3'.\n"),
    (Callable(), WRONG),
    (max, "raises RuntimeError"),
    (writes_into_its_arguments, "changes the tensors it is given (boxes2)"),
    (resizes_its_arguments, "changes the tensors it is given (boxes2)"),
    (takes_the_memory_of_its_arguments, "changes the tensors it is given (boxes1)"),
    (changes_the_class_of_its_arguments, "changes the tensors it is given (boxes1)"),
    (sets_other_numbers, "changes the tensors it is given (boxes1)"),
    (deletes_its_arguments, "returned None"),
    (prints_megabytes, "more characters"),
    (prints_a_text_of_its_own, "   | letters only\n"),
    (closes_the_output, "   | and goes on\n"),
    (takes_the_output_away, WRONG),
    (keeps_the_output, WRONG),
    (switches_things_off, "the IoU[0, 0] is "),
    (patches_python, "returned None"),
    (patches_torch, "the IoU has shape (1, 4)"),
    (patches_the_check, "returned None"),
    (patches_with_what_does_not_die, STOPPED),
    (forgets_all_modules, "returned None"),
    (answers_for_torch_from_now_on, WRONG),
    (works_elsewhere_from_now_on, f"meta, torch.float32; {ORDINARY}"),
    (infers_from_now_on, WRONG),
    (collects_garbage_in_its_own_way, STOPPED),
    (leaves_threads_behind, WRONG),
    (splits_itself, WRONG),
    (comes_back_at_the_end, WRONG),
    (lowers_the_limit_of_recursion, WRONG),
    (runs_a_loop_of_events, WRONG),
    (3, "the check was given an int; give it your function."),
    (None, "the check was given a NoneType; give it your function."),
    (torch.zeros(2), "the check was given a Tensor; give it your function."),
    (io.StringIO(), "the check was given a StringIO; give it your function."),
    (Masked(), "the check was given a Masked; give it your function."),
]
