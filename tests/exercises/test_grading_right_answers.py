"""A right answer never gets 0, whatever the cells around it do; what is not one's own always does.

Each notebook hands in `giou_loss`. `OWN` is a right answer with a helper, whose name some other
cell of the page uses for something else; `PAGE` is how such a cell calls the package.
"""

import re
import textwrap

import pytest
from grading_samples import HAND_IN, NOT_OWN, RIGHT, START, submitted

pytestmark = pytest.mark.slow  # ninety hand-ins
# A cell that the page brings along, not the student.
BOXES = "from detlearn import boxes, losses\nA, B = torch.rand(2, 4), torch.rand(2, 4)"
PAGE = "float(losses.iou_loss(A, B).sum() + boxes.box_area(A).sum())"

HELPER = "def area(b):\n    return (b[:, 2:] - b[:, :2]).prod(1)"
USES = """
def giou_loss(p, t):
    low, high = torch.maximum(p[:, :2], t[:, :2]), torch.minimum(p[:, 2:], t[:, 2:])
    inter = (high - low).clamp(min=0).prod(1)
    union = area(p) + area(t) - inter
    low, high = torch.minimum(p[:, :2], t[:, :2]), torch.maximum(p[:, 2:], t[:, 2:])
    hull = (high - low).prod(1)
    return 1 - inter / (union + 1e-7) + (hull - union) / (hull + 1e-7)
"""
OWN = f"{HELPER}\n{USES}"


def page(*cells):
    """A page's cells, and what they need."""
    return (BOXES, *(cell.replace("PAGE", PAGE) for cell in cells))


def called(name):
    """The right answer with its helper under another name."""
    return re.sub(r"\barea\b", name, OWN)


def with_eps(source, eps="EPS"):
    """The right answer with a global in place of its small number."""
    return source.replace("1e-7", eps)


# name → cells between the imports and the check
RIGHTS = {
    # ---- an earlier cell uses the helper's name for something else ----
    **{
        f"loop_variable_{name}": (*page(f"for {name} in [1, 2]:\n    x = PAGE"), called(name))
        for name in ("area", "path", "name", "growth")
    },
    "loop_that_binds_it": (*page("for loss in [losses.iou_loss]:\n    area = PAGE"), OWN),
    "loop_over_tuples": (*page("for i, (area, name) in enumerate([(PAGE, 2)]): pass"), OWN),
    "comprehension_variable": (*page("x = [PAGE for area in range(2)]"), OWN),
    "comprehension_variable_afterwards": (*page(), OWN, f"x = [{PAGE} for area in [1]]"),
    "with_as": (*page("with torch.no_grad() as area:\n    x = PAGE"), OWN),
    "walrus": (*page("print(area := PAGE)"), OWN),
    "walrus_in_a_condition": (*page("if (area := PAGE) > 3:\n    print(area)"), OWN),
    "augmented_assignment": (*page("area = 0.0", "for _ in range(2):\n    area += PAGE"), OWN),
    "several_targets": (*page("area, (name, *rest) = PAGE, (1, 2, 3)"), OWN),
    "annotated": (*page("area: float = PAGE"), OWN),
    "attribute_target": (
        *page("from types import SimpleNamespace\narea = SimpleNamespace()", "area.value = PAGE"),
        OWN,
    ),
    "subscript_target": (*page("area = {}", "area['one'] = PAGE"), OWN),
    "method_call": (*page("area = []", "area.append(PAGE)"), OWN),
    "import": ("from detlearn.boxes import box_area as area\nprint(area(torch.rand(2, 4)))", OWN),
    "import_under_the_exercises_name": ("from detlearn.losses import giou_loss", OWN),
    "star_import": ("from detlearn.losses import *", OWN),
    "except_as": (*page("try: raise ValueError\nexcept ValueError as area: x = PAGE"), OWN),
    "deleted": (*page("area = PAGE", "del area"), OWN),
    "class_attribute": (*page("class Example:\n    area = PAGE"), OWN),
    "function_of_the_page": (*page("def area(b):\n    return losses.iou_loss(b, b)"), OWN),
    "match": (*page("match [PAGE]:\n    case [area]: pass"), OWN),
    "global_of_a_function": (
        *page("def measure():\n    global area\n    area = PAGE\nmeasure()"),
        OWN,
    ),
    # ---- a later one does ----
    "loop_between": (*page(), HELPER, USES, f"for area in [1]:\n    x = {PAGE}"),
    "with_between": (*page(), HELPER, "with torch.no_grad() as area: pass", USES),
    "rebound_in_a_condition": (*page(), OWN, f"if torch.ones(1) > 2:\n    area = {PAGE}"),
    "one_cell_for_all": ("for area in [1]: pass\n" + OWN + HAND_IN + "\nfor area in [1]: pass",),
    # ---- names of other scopes ----
    "local_variable": (
        *page("shared = PAGE", "union = PAGE", "around = PAGE", "low = PAGE"),
        RIGHT,
    ),
    "parameter": (*page("p = t = PAGE"), OWN),
    "inner_function": (
        *page("area = PAGE"),
        USES.replace("    low,", "    area = lambda b: (b[:, 2:] - b[:, :2]).prod(1)\n    low,", 1),
    ),
    "attribute_of_that_name": (
        *page("area = PAGE"),
        "class Box:\n    def __init__(self, b): self.area = (b[:, 2:] - b[:, :2]).prod(1)",
        USES.replace("area(p)", "Box(p).area").replace("area(t)", "Box(t).area"),
    ),
    # ---- the student's own, in every shape ----
    "lambda_helper": (
        *page("for area in [1]: x = PAGE"),
        "area = lambda b: (b[:, 2:] - b[:, :2]).prod(1)",
        USES,
    ),
    "helper_of_a_helper": (
        *page("for sides in [1]: x = PAGE"),
        "def sides(b):\n    return b[:, 2:] - b[:, :2]",
        "def area(b):\n    return sides(b).prod(1)",
        USES,
    ),
    "helper_below": (*page("area = PAGE"), USES, HELPER),
    "helper_mended": (*page(), HELPER.replace("b[:, 2:] -", "b[:, 2:] +"), USES, HELPER),
    "partial": (
        *page("for area in [1]: x = PAGE"),
        "import functools\ndef product(dim, b): return (b[:, 2:] - b[:, :2]).prod(dim)",
        "area = functools.partial(product, 1)",
        USES,
    ),
    "object_that_is_called": (
        *page("area = PAGE"),
        "class Area:\n    def __call__(self, b): return (b[:, 2:] - b[:, :2]).prod(1)",
        "area = Area()",
        USES,
    ),
    "static_method": (
        HELPER,
        "class Box:\n    area = staticmethod(area)",
        *page("area = PAGE"),
        USES.replace("area(", "Box.area("),
    ),
    "decorated": (
        *page("area = PAGE"),
        "import functools\ndef noted(f):\n    @functools.wraps(f)\n    def inner(*a):\n"
        "        return f(*a)\n    return inner",
        f"@noted\n{HELPER}\n@noted{USES}",
    ),
    "wrapped_afterwards": (OWN, "import functools\narea = functools.lru_cache(area)"),
    "registered": (
        "KNOWN = {}\ndef register(f):\n    KNOWN[f.__name__] = f\n    return f",
        *page("area = PAGE"),
        f"@register\n{HELPER}",
        *page("area = PAGE"),
        USES.replace("area(", "KNOWN['area']("),
    ),
    "decorated_by_the_check": (f"{HELPER}\n@check.giou_loss{USES}",),
    "either_definition": (
        f"if torch.ones(1) > 0:\n{textwrap.indent(HELPER, '    ')}\nelse:\n    area = None",
        USES,
    ),
    "import_or_else": (
        "try:\n    from boxtools import eps\nexcept ImportError:\n    eps = 1e-7",
        with_eps(OWN, "eps"),
    ),
    # ---- globals ----
    "default_argument": (
        *page("for EPS in [3.0]: x = PAGE"),
        "EPS = 1e-7",
        OWN.replace("(p, t)", "(p, t, eps=EPS)").replace("1e-7", "eps"),
        "EPS = 5.0",
    ),
    "global_statement": (
        "def prepare():\n    global EPS\n    EPS = 1e-7",
        "prepare()",
        with_eps(OWN),
    ),
    "list_filled_by_method": ("PARTS = []", "PARTS.append(1e-7)", with_eps(OWN, "PARTS[0]")),
    "table_filled_in_a_loop": (
        "EPS = {}",
        "for name in ('iou', 'giou'):\n    EPS[name] = 1e-7",
        with_eps(OWN, "EPS['giou']"),
    ),
    "table_filled_by_a_function": (
        "EPS = {}\ndef fill(table):\n    table['giou'] = 1e-7",
        "fill(EPS)",
        with_eps(OWN, "EPS['giou']"),
    ),
    "table_filled_under_another_name": (
        "EPS = {}",
        "table = EPS",
        "table['giou'] = 1e-7",
        with_eps(OWN, "EPS['giou']"),
    ),
    "attribute_set": (
        "class Small: eps = 1.0",
        "Small.eps = 1e-7",
        with_eps(OWN, "Small.eps"),
    ),
    "key_deleted": ("EPS = {0: 1.0, 1: 1e-7}", "del EPS[0]", with_eps(OWN, "max(EPS.values())")),
    "item_among_targets": ("EPS = [1.0]", "x, EPS[0] = 3, 1e-7", with_eps(OWN, "EPS[0]")),
    "list_made_shorter": ("EPS = [1.0, 1e-7]", "dropped = EPS.pop(0)", with_eps(OWN, "EPS[0]")),
    # ---- what a function mentions and does not use ----
    "mentions_a_training": (
        "while True: model = None",
        OWN.replace("    union", "    if len(p) < 0: print(model)\n    union", 1),
    ),
    "mentions_a_cell_that_fails": (
        "history = fit(None)",
        OWN.replace("    union", "    if len(p) < 0: print(history)\n    union", 1),
    ),
    "mentions_a_cell_with_a_mistake": (
        "history = (",
        OWN.replace("    union", "    if len(p) < 0: print(history)\n    union", 1),
    ),
    "looks_at_it_in_between": (*page("area = PAGE"), OWN, "print(giou_loss(A, B))", "area(A)"),
    "displays": (OWN.replace("    union", "    display(p)\n    union", 1),),
    # ---- libraries that write ----
    "imports_plotting": (
        "from detlearn import check, plotting\nimport matplotlib.pyplot as plt",
        "plotting.use_style()\nEPS = 1e-7 if plotting and plt.figure() else 1.0",
        with_eps(OWN),
    ),
    "writes_caches_and_temporary_files": (
        "import os, pathlib, tempfile",
        "for place in ('HOME', 'MPLCONFIGDIR', 'XDG_CACHE_HOME', 'TMPDIR'):\n"
        "    pathlib.Path(os.environ[place], 'note').write_text('1e-7')\n"
        "with tempfile.TemporaryDirectory() as folder, open(f'{folder}/a', 'w') as file:\n"
        "    print(1e-7, file=file, flush=True)\n"
        "    EPS = float(open(f'{folder}/a').read())",
        with_eps(OWN),
    ),
}

TAKES_CODE = """
import types
def code_of(f):
    try:
        f(None, None)
    except Exception as error:
        trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith('losses.py'):
            return trace.tb_frame.f_code
        trace = trace.tb_next
"""
LOSSES = "from detlearn import losses"
CALLS_F = "def giou_loss(a, b):\n    return f(a, b)"

# What is not one's own: whatever name it hides behind, whenever it was taken.
CHEATS = {
    "alias": (f"{LOSSES}\nf = losses.giou_loss", CALLS_F),
    "helper_that_calls_it": (
        LOSSES,
        "def area(a, b):\n    return losses.giou_loss(a, b)",
        CALLS_F.replace("f(", "area("),
    ),
    "loop_variable": ("from detlearn.losses import *", "for f in [giou_loss]: pass", CALLS_F),
    "walrus": (f"{LOSSES}\nprint(f := losses.giou_loss)", CALLS_F),
    "star_import": ("from detlearn.losses import *",),
    "partial": (
        f"import functools\n{LOSSES}\nf = functools.partial(losses.giou_loss, eps=1e-7)",
        CALLS_F,
    ),
    "cached": (f"import functools\n{LOSSES}\nf = functools.cache(losses.giou_loss)", CALLS_F),
    "default_argument": (
        LOSSES,
        "def giou_loss(a, b, f=losses.giou_loss):\n    return f(a, b)",
    ),
    "class_attribute": (
        f"{LOSSES}\nclass Mine:\n    f = staticmethod(losses.giou_loss)",
        "def giou_loss(a, b):\n    return Mine.f(a, b)",
    ),
    "table": (
        f"{LOSSES}\nF = []",
        "F.append(losses.giou_loss)",
        "def giou_loss(a, b):\n    return F[0](a, b)",
    ),
    "decorator": (
        f"{LOSSES}\ndef better(f):\n    return getattr(losses, f.__name__)",
        f"@better\n{CALLS_F}",
    ),
    "global_statement": (
        f"{LOSSES}\ndef prepare():\n    global f\n    f = losses.giou_loss",
        "prepare()",
        CALLS_F,
    ),
    "by_its_spelling": (
        "import importlib",
        "def giou_loss(a, b):\n    hidden = importlib.import_module('detlearn.los' + 'ses')\n"
        "    return getattr(hidden, 'gi' + 'ou_loss')(a, b)",
    ),
    "under_an_allowed_name": (
        f"{LOSSES}\nlosses.giou_loss.__name__ = 'box_area'",
        "f = losses.giou_loss",
        CALLS_F,
    ),
    "of_torchvision": ("from torchvision.ops import generalized_box_iou_loss as f", CALLS_F),
    "made_by_a_factory": (
        "from detlearn.check.iou_losses import box_losses\nmade = []",
        "for known in box_losses.GIOU.misconceptions: made += getattr(known, 'functions', ())",
        "def giou_loss(a, b):\n    return made[0](a, b)",
    ),
    # ---- a call in an earlier cell is not charged, but nothing comes of it ----
    "traced": (
        f"{LOSSES}\nf = torch.jit.trace(losses.giou_loss, (torch.rand(2, 4),) * 2)",
        CALLS_F,
    ),
    "traced_symbolically": (
        f"import torch.fx\n{LOSSES}\nf = torch.fx.symbolic_trace(losses.giou_loss)",
        CALLS_F,
    ),
    "traced_below": (
        "from torch.fx.experimental.proxy_tensor import make_fx",
        LOSSES,
        "f = make_fx(losses.giou_loss)(torch.rand(2, 4), torch.rand(2, 4))",
        CALLS_F,
    ),
    "compiled": (
        f"{LOSSES}\nf = torch.compile(losses.giou_loss, backend='eager')",
        "x = f(torch.rand(2, 4), torch.rand(2, 4))",
        CALLS_F,
    ),
    "noted_by_a_tensor": (
        f"{LOSSES}\nclass Notes(torch.Tensor): pass",
        "f = losses.giou_loss\nx = f(*torch.rand(2, 2, 4).as_subclass(Notes))",
        "def giou_loss(a, b):\n    return x",
    ),
    "its_code": (
        TAKES_CODE,
        LOSSES,
        "f = types.FunctionType(losses.giou_loss.__code__, vars(losses))",
        CALLS_F,
    ),
    "its_code_from_a_traceback": (
        TAKES_CODE,
        f"{LOSSES}\ncode = code_of(losses.giou_loss)",
        "f = types.FunctionType(code, vars(losses), 'f', (1e-7, 'none'))",
        CALLS_F,
    ),
    "its_code_later": (
        TAKES_CODE,
        f"{LOSSES}\ncode = code_of(losses.giou_loss)",
        "def giou_loss(a, b):\n    return types.FunctionType(code, vars(losses))(a, b)",
    ),
    "its_code_put_into_another": (
        TAKES_CODE,
        f"{LOSSES}\ncode = code_of(losses.giou_loss)",
        CALLS_F,
        "giou_loss.__code__ = code",
    ),
}
# These find no function of which anything could be made: the sentence says what fails.
EARN_NOTHING = (
    *("made_by_a_factory", "traced_symbolically", "compiled"),
    *("its_code", "its_code_from_a_traceback", "its_code_later", "its_code_put_into_another"),
)


def row_of(room, cells):
    """What a notebook earns."""
    end = () if any("check.giou_loss" in cell for cell in cells) else (HAND_IN,)
    return room.grade(submitted("one", START, *cells, *end), ["giou_loss"], seed=20_262)


@pytest.mark.parametrize("name", RIGHTS)
def test_a_right_answer_gets_its_points(room, name):
    row = row_of(room, RIGHTS[name])
    assert row.points == {"giou_loss": 10}, row.hints


@pytest.mark.parametrize("name", CHEATS)
def test_what_is_not_ones_own_gets_none(room, name):
    row = row_of(room, CHEATS[name])
    assert row.points == {"giou_loss": 0} and row.hints["giou_loss"]
    assert name in EARN_NOTHING or NOT_OWN in row.hints["giou_loss"]


@pytest.mark.parametrize("call", ["losses.iou_loss(A, B)", "torchvision.ops.nms(A, A[:, 0], 0.5)"])
def test_the_cells_around_a_function_see_no_more_than_it(room, call):
    """What is not there can be called by nobody, so there are no data that it would make."""
    cells = (
        f"{BOXES}\nimport torchvision",
        f"example = {call}",
        with_eps(OWN, "1e-7 * len(example)"),
    )
    row = row_of(room, cells)
    assert row.points == {"giou_loss": 0} and NOT_OWN in row.hints["giou_loss"]
