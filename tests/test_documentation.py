"""What an `__all__` promises is documented: parameters, shapes, units, errors and sources.

Everything else is internal and takes a sentence. Docstrings and signatures are read from the source: nothing
is imported, and nothing is run.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "eeglab_models").rglob("*.py")
)
ARRAY = re.compile(r"(\w+\[)?(torch\.)?(Tensor|np\.ndarray)\b")
SHAPE = re.compile(r"\bshapes? \(|any shape|scalar")
QUANTITY = re.compile(r"(.+_)?(sfreq|freqs?|bands?|seconds|duration|tmin|tmax|microvolts)")
UNIT = re.compile(r"\b(Hz|seconds?|samples?|(micro|milli)?volts?|units?)\b|µV|mV|\d s\b", re.IGNORECASE)
CITATION = re.compile(r"[A-Z]\w+( et al\.| (and|&) [\w ]+)? \((19|20)\d\d\)")
# What comes from a paper: in its References, or at the head of its module, the paper is named.
PUBLISHED = """
accuracy_interval align apply_regime Attend attend_with_dropout attribute baselines Centre chance_level cka
Codebook CodeBrain CodePrediction CodeStream compare contrastive_loss cross_entropies deletion_curve DropPath
EEGDINO EEGPT eegpt_probe_recipe FBLightConvNet FineTuner follow global_kernels group_parameters
head_similarity insertion_curve k_means lightconvnet_recipe limit_norm load_arithmetic MaskedAlignment
mean_distance measure_crowding NeuralEncoder one_cycle Predictor ProjectionHead randomise
receptive_field Reconstructor rollout score_topography SelfDistillation similarity_to_randomised
SimulatedMotorImagery spatial_patterns sphere_potentials TFConv TFDualTokenizer Transformer variance_shares
""".split()


@dataclass(frozen=True)
class Thing:
    """A class, a function or a constant, and its docstring."""

    module: str
    name: str
    node: ast.AST
    doc: str

    def __str__(self):
        return f"{self.module}.{self.name}".removeprefix("eeglab_models.")

    def entries(self, *titles):
        """Entries of sections of the docstring: (name, type, text), the type empty if there is none."""
        parts = re.split(r"^(\w+)\n-+$", self.doc, flags=re.MULTILINE)
        bodies = [body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title in titles]
        for head, text in re.findall(r"^(\S.*)((?:\n(?: .*)?)*)", "\n".join(bodies), flags=re.MULTILINE):
            names, _, kind = head.partition(" : ")
            yield from ((name, kind, text) for name in names.split(", "))


@cache
def parse(module):
    path = ROOT.joinpath(*module.split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


@cache
def read(module):
    """What a module of the package knows by name, defined there or imported from another one."""
    body = parse(module).body
    # What is imported when it is asked for is imported there for type checkers.
    body = [*body, *(part for node in body if isinstance(node, ast.If) for part in node.body)]
    found = {}
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = Thing(module, node.name, node, ast.get_docstring(node) or "")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            # The docstring of a constant stands below it.
            text = getattr(getattr(after, "value", None), "value", "")
            for target in map(ast.unparse, node.targets if isinstance(node, ast.Assign) else [node.target]):
                found[target] = Thing(module, target, node, text if isinstance(text, str) else "")
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            found |= {alias.name: read(node.module).get(alias.name) for alias in node.names}
    return found


def members(thing):
    """A thing and, of a class, its public methods."""
    yield thing
    for node in thing.node.body if isinstance(thing.node, ast.ClassDef) else []:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield Thing(thing.module, f"{thing.name}.{node.name}", node, ast.get_docstring(node) or "")


def promised():
    """What an `__all__` names, wherever it is defined, and the classes that it builds on."""
    known = [names for names in map(read, MODULES) if "__all__" in names]
    waiting = [names[name] for names in known for name in ast.literal_eval(names["__all__"].node.value)]
    for thing in waiting:
        yield from members(thing)
        if isinstance(thing.node, ast.ClassDef):
            waiting += filter(None, (read(thing.module).get(ast.unparse(base)) for base in thing.node.bases))


PROMISED = {str(thing): thing for thing in promised()}
DEFINED = {
    str(part): part
    for module in MODULES
    for thing in read(module).values()
    if thing and thing.module == module
    for part in members(thing)
}


def decorated(node, by):
    return any(by in ast.unparse(decorator) for decorator in node.decorator_list)


def parameters(thing):
    """Annotations of the parameters by name; a class has those of its constructor, or its fields."""
    node = thing.node
    if isinstance(node, ast.ClassDef):
        constructors = [part for part in node.body if getattr(part, "name", "") == "__init__"]
        if not constructors:
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            return {part.target.id: part.annotation for part in fields if decorated(node, "dataclass")}
        node = constructors[0]
    arguments = node.args
    named = [(argument.arg, argument) for argument in ast.walk(arguments) if isinstance(argument, ast.arg)]
    stars = {id(arguments.vararg): "*", id(arguments.kwarg): "**"}
    found = {stars.get(id(argument), "") + name: argument.annotation for name, argument in named}
    return {name: annotation for name, annotation in found.items() if name not in ("self", "cls")}


def kinds(module, annotation):
    """Alternatives of an annotation, with the package's own names of array types spelt out."""
    if isinstance(annotation, ast.BinOp):
        return kinds(module, annotation.left) + kinds(module, annotation.right)
    known = read(module).get(ast.unparse(annotation))
    if known and isinstance(known.node, ast.Assign):
        return kinds(known.module, known.node.value)
    return [ast.unparse(annotation)]


def gaps_of_value(module, annotation, name, kind, text):
    """What the description of a parameter or a result leaves out."""
    alternatives = kinds(module, annotation)
    arrays = [one for one in alternatives if ARRAY.match(one)]
    # Results of several forms tell each form's shape in the text.
    single = len(arrays) == len([one for one in alternatives if one != "None"])
    if not kind and not name.startswith("*"):
        yield f"{name} has no type"
    if arrays and not SHAPE.search(kind if single else kind + text):
        yield f"{name} has no shape in its type"
    axes = {len(found[1].split()) for one in arrays if (found := re.search(r", '([\w {}.]*)'\]$", one))}
    shapes = {len(re.findall(r"\w[^,]*", shape)) for shape in re.findall(r"shapes? \(([^().]*)\)", kind)}
    if single and axes and shapes and axes.isdisjoint(shapes):
        yield f"{name} has another number of axes"
    if "None" in alternatives and "None" not in kind + text:
        yield f"{name} may be None, which is not described"
    measured = QUANTITY.fullmatch(name) and {"float", "int", *arrays}.intersection(alternatives)
    if (measured or any("n_times" in one for one in arrays)) and not UNIT.search(kind + text):
        yield f"{name} has no unit"


def gaps_of_parameters(thing):
    annotations = parameters(thing)
    written = {name: rest for name, *rest in thing.entries("Parameters")}
    yield from (f"{name} is no parameter" for name in written if name not in annotations)
    if isinstance(thing.node, ast.ClassDef):
        written = {name: rest for name, *rest in thing.entries("Attributes")} | written
    for name, annotation in annotations.items():
        if name in written:
            yield from gaps_of_value(thing.module, annotation, name, *written[name])
        else:
            yield f"{name} is not described"


def gaps_of_results(thing):
    annotation, written = thing.node.returns, list(thing.entries("Returns", "Yields"))
    if decorated(thing.node, "property"):
        yield from gaps_of_value(thing.module, annotation, thing.node.name, thing.doc, "")
        return
    if bool(written) == (ast.unparse(annotation) in ("None", "Iterator[None]")):
        yield "Returns does not fit what is returned"
    parts = [annotation]
    while len(parts) == 1 and ast.unparse(parts[0]).startswith(("tuple[", "Iterator[")):
        parts = getattr(parts[0].slice, "elts", [parts[0].slice])
    if len(parts) == len(written):
        for part, entry in zip(parts, written, strict=True):
            yield from gaps_of_value(thing.module, part, *entry)


def raised(node):
    """Names of the errors that a body raises itself, without those of the functions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc:
            yield ast.unparse(getattr(child.exc, "func", child.exc))
        if not isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from raised(child)


def gaps(thing):
    """What a docstring leaves out, one sentence each."""
    if not re.match(r"\S[^\n]*\.(\n\n|$)", thing.doc):
        yield "there is no summary of one line"
    if not isinstance(thing.node, ast.ClassDef | ast.FunctionDef):
        return
    yield from gaps_of_parameters(thing)
    bodies = [thing.node]
    if isinstance(thing.node, ast.ClassDef):
        bodies = [
            part for part in thing.node.body if getattr(part, "name", "") in ("__init__", "__post_init__")
        ]
    else:
        yield from gaps_of_results(thing)
    told = {name for name, *_ in thing.entries("Raises")}
    # A variable that is raised has no name of a class.
    names = {name for body in bodies for name in raised(body) if name[0].isupper()}
    yield from (f"{name} is raised and not in Raises" for name in sorted(names - told))


def test_what_is_promised_is_described():
    assert {name: found for name, thing in PROMISED.items() if (found := list(gaps(thing)))} == {}


def test_what_is_internal_takes_a_sentence():
    internal = {name: thing for name, thing in DEFINED.items() if name not in PROMISED}

    assert [name for name, thing in internal.items() if re.search(r"^-+$", thing.doc, re.MULTILINE)] == []


def test_what_comes_from_a_paper_names_it():
    cited = {
        thing.name
        for thing in DEFINED.values()
        if CITATION.search(" ".join(f"{thing.doc} {ast.get_docstring(parse(thing.module))}".split()))
    }

    assert set(PUBLISHED) - cited == set()


def test_gaps_are_found():
    source = '''
def poor(x: Float[Tensor, "batch n_times"], y: Tensor, sfreq: float, z: int | None, rest: int) -> Tensor:
    """Do something

    Parameters
    ----------
    x : torch.Tensor, shape (batch, n_chans, n_times)
        EEG.
    y
        More EEG.
    sfreq : float
        Rate.
    z : int
        Depth.
    other : int
        Nothing.
    """
    raise ValueError("No.")
'''
    node = ast.parse(source).body[0]

    assert list(gaps(Thing("eeglab_models", "poor", node, ast.get_docstring(node)))) == [
        "there is no summary of one line",
        "other is no parameter",
        "x has another number of axes",
        "x has no unit",
        "y has no type",
        "y has no shape in its type",
        "sfreq has no unit",
        "z may be None, which is not described",
        "rest is not described",
        "Returns does not fit what is returned",
        "ValueError is raised and not in Raises",
    ]
