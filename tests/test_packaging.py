"""The package as others meet it: its public names, what it imports, and what the wheel holds."""

import ast
import inspect
import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import qmig
from qmig import errors
from tests.conftest import CaptureFiles

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "qmig"

# -- public names ---------------------------------------------------------------------------------


def test_public_names_are_sorted_and_there() -> None:
    assert qmig.__all__ == sorted(qmig.__all__)
    assert dir(qmig) == qmig.__all__
    for name in qmig.__all__:
        assert getattr(qmig, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = qmig.nothing_of_the_kind


def test_every_error_is_public() -> None:
    declared = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, qmig.QmigError)
    }
    assert declared <= set(qmig.__all__)
    assert all(name.endswith("Error") for name in declared)


def test_what_type_checkers_see_is_what_is_public() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (guarded,) = (
        node for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )  # fmt: skip
    seen = {
        alias.asname or alias.name
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(qmig.__all__) - {"__version__"}


def test_the_whole_public_api_is_documented() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
    for name in set(qmig.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(qmig, name)), name


# -- who imports whom -----------------------------------------------------------------------------

# Each part may import those of the lines above it and none of its own line.
LAYERS = (
    {"closing", "escape", "faults", "limits", "_version"},
    {"errors"},
    {"wire"},
    {"memory", "pages"},
    {"capture", "migrate"},
    {"devices"},
    {"checks", "comparison", "conversion", "export", "saving"},
    {"extracting", "guest_source", "salvaging"},
    {"api", "render"},
    {"cli"},
    {"__init__", "__main__", "volatility"},
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def part_of(module: str) -> str:
    """Return the part that a module belongs to: `capture` for qmig.capture.stream."""
    return [*module.split("."), "__init__"][1]


def imports() -> Iterator[tuple[str, str]]:
    """Yield importing and imported part, also of imports inside functions."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import"
                names = [node.module or ""]
                if node.module == "qmig":
                    names = [f"qmig.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.split(".")[0] == "qmig":
                    yield part_of(module), part_of(name)


def test_every_part_has_its_layer() -> None:
    parts = {path.stem for path in PACKAGE.glob("*.py")}
    parts |= {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert parts == set(LEVEL)


def test_imports_go_down() -> None:
    found = {(one, other) for one, other in imports() if one != other}
    assert len(found) > 20
    wrong = {(one, other) for one, other in found if LEVEL[one] <= LEVEL[other]}
    assert wrong == set()


def test_reading_and_writing_do_not_know_each_other() -> None:
    found = set(imports())
    assert ("capture", "migrate") not in found
    assert ("migrate", "capture") not in found


def test_construct_is_known_to_the_schemas_alone() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "construct" in imported_packages(path):
            assert path.parent == PACKAGE / "wire", path


def imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a file imports when it runs, at once or later."""
    found = set()
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


def names_of(requirements: list[str]) -> set[str]:
    """Return the names that packages are imported by, of requirements with versions."""
    return {text.split(">")[0].split("<")[0].replace("-", "_") for text in requirements}


def test_only_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    usual = names_of(project["dependencies"])
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0]  # an extra has the name of the part it is for
        extra = names_of(project["optional-dependencies"].get(part, []))
        found = imported_packages(path) - set(sys.stdlib_module_names) - {"qmig"}
        assert found <= usual | extra, path


# -- what is loaded when --------------------------------------------------------------------------

HEAVY = {"numpy", "typer", "rich", "construct", "zstandard", "lzallright"}


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Run code in a new interpreter; return the packages that it has loaded at its end."""
    program = (
        "import io, json, sys\n"
        f"sys.argv[1:] = {list(arguments)!r}\n"
        "out, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), 'utf-8')\n"
        f"{code}\n"
        "json.dump(sorted({name.split('.')[0] for name in sys.modules}), out)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout))


RUN_COMMAND = "from qmig.__main__ import main\nassert main() == 0"


def test_import_and_version_load_nothing_of_size() -> None:
    assert not loaded_by("import qmig") & HEAVY
    assert not loaded_by("import qmig\nassert qmig.__version__") & HEAVY
    assert not loaded_by(RUN_COMMAND, "--version") & HEAVY


def test_inspect_of_an_ordinary_stream_loads_no_numpy(capture_files: CaptureFiles) -> None:
    for name in ("qemu-10.0-ordinary", "qemu-10.0-xbzrle", "qemu-10.0-multifd-none"):
        loaded = loaded_by(RUN_COMMAND, "inspect", *map(str, capture_files(name)))
        assert "qmig" in loaded
        assert not loaded & {"numpy", "zstandard", "lzallright", "typer"}, name


def test_version_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qmig", "--version"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == f"qmig {qmig.__version__}\n"


# -- the wheel ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and source archive."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.name == f"qmig-{qmig.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    info = f"qmig-{qmig.__version__}.dist-info"
    sources = {str(file.relative_to(ROOT)) for file in PACKAGE.rglob("*.py")}
    assert {name for name in names if not name.startswith(f"{info}/")} == {
        *sources,
        "qmig/py.typed",
    }
    assert f"{info}/licenses/LICENSE" in names


def test_the_wheel_says_what_it_is(built: Path) -> None:
    (path,) = built.glob("*.whl")
    info = f"qmig-{qmig.__version__}.dist-info"
    with zipfile.ZipFile(path) as wheel:
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["Name"] == "qmig"
    assert metadata["Version"] == qmig.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == project["requires-python"] == ">=3.11"
    required = [text.replace(" ", "") for text in metadata.get_all("Requires-Dist") or ()]
    always = [text for text in required if ";extra==" not in text]
    assert names_of(always) == names_of(project["dependencies"])
    extras = {name: names_of(texts) for name, texts in project["optional-dependencies"].items()}
    assert set(metadata.get_all("Provides-Extra") or ()) == set(extras)
    for name, wanted in extras.items():
        assert names_of([text for text in required if text.endswith(f";extra=='{name}'")]) == wanted
    for name, entry in project["scripts"].items():
        assert f"{name} = {entry}" in entry_points
    assert str(metadata.get_payload()).startswith("# qmig")


def test_the_source_archive_can_be_built_from(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "qmig/__init__.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", "fixtures/"))]
