"""A program of its own: what a process finds that has a view of the package and nothing else of it.

    python -I -S beside_a_view.py PACKAGES ANSWERS

PACKAGES is a folder of what may be seen beside a view, ANSWERS holds answers of students. On
standard input come pickles of (view, exercise, cases, expected answers), the last two pickled
themselves, since their classes are the view's; a pickle of what was found goes out for each.
"""

import importlib
import inspect
import os
import pickle
import sys
import types
from pathlib import Path

SECONDS = 60.0  # for the cases of a right answer, on the busiest machine
A_TRY = 2.0  # seconds for a call of what may be an answer


def look(view, exercise, cases, expected):
    """Return what is found in a view, as a dictionary of plain data."""
    sys.path[:0] = [view]
    modules = import_all(Path(view))
    cases, expected = pickle.loads(cases), pickle.loads(expected)

    import torch

    foreign = [
        name
        for name in ("detlearn", "torchvision")
        if not sys.modules[name].__file__.startswith(view)
    ]
    operators = [
        name for name in torch._C._dispatch_get_all_op_names() if name.startswith("torchvision::")
    ]
    missing, agreeing = search(modules, cases, expected)
    return {
        "modules": len(modules),
        "foreign": foreign,
        "operators": operators,
        "missing": missing,
        "agreeing": agreeing,
        "answers": pickle.dumps(right_answers(exercise, cases)),
    }


def import_all(view):
    """Import every file of a view; return the modules that are no part of the machinery."""
    names = []
    for path in sorted(view.rglob("*.py")):
        name = ".".join(path.relative_to(view).with_suffix("").parts)
        if not name.startswith(("detlearn.check.engine", "detlearn.grading")):
            names.append(name.removesuffix(".__init__"))
    return [importlib.import_module(name) for name in names]


def search(modules, cases, expected):
    """Call whatever can be called with the cases.

    Returns:
        How many names are missing, and the names of those that answer as the package does.
    """
    from detlearn.check.engine.cases import agree
    from detlearn.check.engine.sandbox import call
    from detlearn.grading.missing import Missing

    found = {}
    missing = 0
    for module in modules:
        for name, thing in vars(module).items():
            if isinstance(thing, Missing):
                missing += 1
                assert raises_not_yours(thing)
            elif getattr(thing, "__module__", "").startswith("detlearn"):
                found.update(callables(f"{module.__name__}.{name}", thing))

    pairs = [pair for pair in zip(cases, expected) if pair[0].rung != "cause"][::-1]
    agreeing = [
        name
        for name, thing in found.items()
        if all(accepts(thing, case) for case, _ in pairs)
        and all(agree(case, call(thing, case, A_TRY), right) for case, right in pairs)
    ]
    return missing, agreeing


def raises_not_yours(thing):
    from detlearn.grading.missing import WRITE_IT, NotYours

    try:
        thing(1, key=2)
    except NotYours as error:
        return WRITE_IT in str(error)
    return False


def callables(name, thing):
    """Yield (name, function): a function itself, of a class it and its methods."""
    if callable(thing):
        yield name, thing
    if not isinstance(thing, type):
        return

    try:
        made = thing()
    except Exception:
        made = None
    for attribute in vars(thing):
        for owner in (thing, made):
            method = getattr(owner, attribute, None)
            if isinstance(method, types.FunctionType | types.MethodType):
                yield f"{name}.{attribute} of {type(owner).__name__}", method


def accepts(function, case):
    try:
        inspect.signature(function).bind(*case.args, **case.keywords)
    except (TypeError, ValueError):
        return False
    return True


def right_answers(exercise, cases):
    """Return name → what a right answer says to the cases."""
    from answers import answers

    from detlearn.check.engine import ask

    # A hunt's cause is no question to a function.
    cases = [case for case in cases if case.rung != "cause"]
    return {each.__name__: ask(each, cases, SECONDS) for each in answers(exercise, "right")}


def main():
    packages, answers = sys.argv[1:]
    sys.path += [packages, answers]
    sys.dont_write_bytecode = True

    # Loaded once, for all views.
    import numpy  # noqa: F401
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    out = os.fdopen(os.dup(1), "wb")
    sys.stdout = sys.stderr

    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            with os.fdopen(write, "wb") as pipe:
                pipe.write(pickle.dumps(look(*job)))
            os._exit(0)

        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            content = pipe.read()
        os.waitpid(child, 0)
        pickle.dump(content, out)
        out.flush()


if __name__ == "__main__":
    main()
