"""Which file counts, what it says, and that nothing odd in it is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.policy.file import find, located, read, settings
from mhc_diag.policy.given import from_texts
from mhc_diag.policy.limits import STATISTICS

WHOLE = """
targets = ["model.pt", "package.module:factory", "hf://org/name", "sub/x.safetensors"]
profile = "mhc"
max-gain = 4
baseline = "known.json"

[[limits]]
metric = "uniformity"
scope = "prefix"
statistic = "p50"
sites = "*.mlp"
at-least = 0.05
at-most = 1
level = "warn"

[[limits]]
metric = "half_life"
at-least = 12

[findings]
MHC101 = "warn"
"""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("MHC_DIAG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_everything_that_a_file_can_say(work: Path) -> None:
    (work / "mhc-diag.toml").write_text(WHOLE)
    found = settings()
    assert found.targets == ("model.pt", "package.module:factory", "hf://org/name", "sub/x.safetensors")
    assert found.baseline == Path("known.json")
    policy = found.policy
    assert (policy.profile, policy.max_gain, policy.levels) == ("mhc", None, {"MHC101": "warn"})
    said = [(*limit.key, limit.at_least, limit.at_most, limit.level) for limit in policy.limits]
    assert said == [
        ("amax_forward", "prefix", "max", "*", None, 4.0, "error"),
        ("amax_backward", "suffix", "max", "*", None, 4.0, "error"),
        ("uniformity", "prefix", "p50", "*.mlp", 0.05, 1.0, "warn"),
        ("half_life", "stack", "", "*", 12.0, None, "error"),
    ]
    assert {limit.origin for limit in policy.limits} == {"mhc-diag.toml"}
    assert "MHC101 warn: mhc-diag.toml" in policy.sources


def test_the_same_in_pyproject(work: Path) -> None:
    nested = WHOLE.replace("[[limits]]", "[[tool.mhc-diag.limits]]").replace(
        "[findings]", "[tool.mhc-diag.findings]"
    )
    (work / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.mhc-diag]" + nested)
    shared = settings()
    (work / "mhc-diag.toml").write_text(WHOLE)
    own = settings()
    assert shared.targets == own.targets and shared.policy.levels == own.policy.levels
    assert [x.key for x in shared.policy.limits] == [x.key for x in own.policy.limits]
    assert shared.policy.limits[0].origin == "pyproject.toml"
    assert own.policy.limits[0].origin == "mhc-diag.toml"  # which counts before the other


def test_without_a_file_the_profile_is_chosen_by_what_is_found() -> None:
    assert find() == settings().policy
    assert (find().profile, find().judges, find().sources) == ("auto", True, ())


def test_a_file_is_found_from_below_and_its_paths_are_its_own(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "mhc-diag.toml").write_text(WHOLE)
    (work / "a/b").mkdir(parents=True)
    (work / "a/pyproject.toml").write_text("[tool.other]\nx = 1\n")  # says nothing of us
    monkeypatch.chdir(work / "a/b")
    found = settings()
    assert found.targets == (
        "../../model.pt",
        "package.module:factory",
        "hf://org/name",
        "../../sub/x.safetensors",
    )
    assert found.baseline == Path("../../known.json")
    assert found.policy.limits[0].origin == str(work / "mhc-diag.toml")


@pytest.mark.parametrize("stop", [".git", "home"])
def test_nothing_is_looked_for_above_the_repository_or_the_home_folder(
    work: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    (work / "mhc-diag.toml").write_text(WHOLE)
    (work / "a/b").mkdir(parents=True)
    assert located(work / "a/b") == work / "mhc-diag.toml"
    if stop == "home":
        monkeypatch.setenv("HOME", str(work / "a"))
    else:
        (work / "a/.git").mkdir()
    assert located(work / "a/b") is None


def test_a_file_that_is_named_counts_instead(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "mhc-diag.toml").write_text("profile = 'hc'")
    (work / "other.toml").write_text("profile = 'mhc'")
    assert find().profile == "hc"
    assert find("other.toml").profile == "mhc"
    monkeypatch.setenv("MHC_DIAG_CONFIG", "other.toml")
    assert find().profile == "mhc"
    assert find("mhc-diag.toml").profile == "hc"


def test_from_another_start(work: Path) -> None:
    (work / "a").mkdir()
    (work / "a/mhc-diag.toml").write_text("max-gain = 3\nbaseline = 'known.json'")
    assert find(start=work / "a").limits[0].at_most == 3
    assert settings("mhc-diag.toml", start=work / "a").baseline == Path("a/known.json")


def test_flags_over_the_environment_over_the_file(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "mhc-diag.toml").write_text(WHOLE)

    def gain(**flags: object) -> tuple[float | None, str, str]:
        over = from_texts(
            {"MAX_GAIN": "--max-gain", "PROFILE": "--profile", "LIMIT": "", "LEVEL": ""}, **flags
        )  # type: ignore[arg-type]
        policy = settings(over=over).policy
        (limit,) = (x for x in policy.limits_of("mhc") if x.metric == "amax_forward")
        return limit.at_most, limit.origin, policy.profile

    assert gain() == (4, "mhc-diag.toml", "mhc")
    monkeypatch.setenv("MHC_DIAG_MAX_GAIN", "3")
    monkeypatch.setenv("MHC_DIAG_PROFILE", "hc")
    assert gain() == (3, "MHC_DIAG_MAX_GAIN", "hc")
    assert gain(max_gain=2.0) == (2, "--max-gain", "hc")
    assert gain(profile="none") == (3, "MHC_DIAG_MAX_GAIN", "none")
    for name in ("MHC_DIAG_MAX_GAIN", "MHC_DIAG_PROFILE"):
        monkeypatch.setenv(name, " ")  # as a pipeline sets what it does not know
    assert gain() == (4, "mhc-diag.toml", "mhc")


WRONG = {
    "max_gain = 4": ("unknown key max_gain", "max-gain"),
    "limit = 4": ("unknown key limit", "limits"),
    "[tool.mhc-diag]\nprofile = 'mhc'": ("unknown key tool", "leave [tool.mhc-diag] out"),
    "profile = 'mch'": ("profile is 'mch'", "mhc"),
    "profile = 3": ("profile is 3, expected a text", ""),
    "profile = ''": ("profile is empty", ""),
    "max-gain = 'four'": ("max-gain is 'four'", ""),
    "max-gain = true": ("max-gain is True, expected a number", ""),
    "max-gain = nan": ("max-gain is nan", ""),
    "tolerance = -0.1": ("tolerance is -0.1", ""),
    "tolerance = nan": ("tolerance is nan", ""),
    "tolerance = 'much'": ("tolerance is 'much', expected a number", ""),
    "max-gain = inf": ("max-gain is inf", ""),
    "max-gain = 0": ("max-gain is 0", ""),
    "max-gain = -1.5": ("max-gain is -1.5", ""),
    f"max-gain = 1{'0' * 400}": ("max-gain is 1000", ""),
    "targets = 'model.pt'": ("targets is 'model.pt', expected a list", ""),
    "targets = ['a', 3]": ("targets[2] is 3", ""),
    "baseline = ['x']": ("baseline is ['x']", ""),
    "limits = 3": ("limits is no list", "[[limits]]"),
    "[limits]\nmetric = 'half_life'": ("limits is no list", "[[limits]]"),
    "limits = [3]": ("limits[1] is 3", "[[limits]]"),
    "[[limits]]\nat-most = 3": ("limits[1]: metric is missing", ""),
    "[[limits]]\nmetric = 'half_live'\nat-most = 3": ("limits[1]: metric is 'half_live'", "half_life"),
    "[[limits]]\nmetric = 'amax_foward'\nat-most = 3": ("metric is 'amax_foward'", "amax_forward"),
    "[[limits]]\nmetric = 'inf_norm'\nscope = 'prefixes'\nat-most = 3": ("scope is 'prefixes'", "prefix"),
    "[[limits]]\nmetric = 'inf_norm'\nscope = 'stack'\nat-most = 3": (
        "not taken of a stack",
        "site or prefix",
    ),
    "[[limits]]\nmetric = 'row_entropy'\nscope = 'prefix'\nat-most = 3": ("not taken of a prefix", "site"),
    "[[limits]]\nmetric = 'sinkhorn_rate'\nscope = 'prefix'\nat-most = 3": ("not taken of a prefix", "site"),
    "[[limits]]\nmetric = 'half_life'\nscope = 'site'\nat-most = 3": ("not taken of a site", "stack"),
    "[[limits]]\nmetric = 'half_life'\nsites = '*'\nat-most = 3": ("one number of the whole stack", ""),
    "[[limits]]\nmetric = 'inf_norm'\nstatistic = 'p98'\nat-most = 3": ("statistic is 'p98'", "p9"),
    "[[limits]]\nmetric = 'inf_norm'\nsites = 4\nat-most = 3": ("sites is 4", ""),
    "[[limits]]\nmetric = 'inf_norm'": ("limits[1] allows everything", ""),
    "[[limits]]\nmetric = 'inf_norm'\nat_most = 3": ("unknown key at_most", "at-most"),
    "[[limits]]\nmetric = 'inf_norm'\nat-most = nan": ("at-most is nan", ""),
    "[[limits]]\nmetric = 'inf_norm'\nat-least = -inf": ("at-least is -inf", ""),
    "[[limits]]\nmetric = 'half_life'\nat-least = 3\nat-most = 2": ("at least 3 and at most 2", ""),
    "[[limits]]\nmetric = 'inf_norm'\nat-least = 1\nat-most = 2": ("statistic is missing", ""),
    "[[limits]]\nmetric = 'inf_norm'\nat-most = 3\nlevel = 'warning'": ("level is 'warning'", "warn"),
    "[[limits]]\nmetric = 'half_life'\nat-most = 3\n[[limits]]\nmetric = 'half_life'\nat-most = 4": (
        "limits half_life:stack:* twice",
        "",
    ),
    "[findings]\nMHC109 = 'warn'": ("'MHC109', which is no finding", "MHC1"),
    "[findings]\nmhc101 = 'warn'": ("'mhc101', which is no finding", "MHC101"),
    "[findings]\nMHC101 = 'of'": ("findings.MHC101 is 'of'", "off"),
    "[findings]\nMHC101 = 1": ("findings.MHC101 is 1", ""),
    "[findings]\nMHC100 = 'off'": ("names MHC100, a broken limit of yours", "[[limits]]"),
    "findings = 'MHC101'": ("findings is no table", ""),
    "profile = ": ("is no TOML", ""),
    "profile = 'mhc'\nprofile = 'hc'": ("is no TOML", ""),
}


@pytest.mark.parametrize(("text", "told", "hint"), [(k, *v) for k, v in WRONG.items()])
def test_what_is_wrong_is_named_with_its_file(work: Path, text: str, told: str, hint: str) -> None:
    (work / "mhc-diag.toml").write_text(text)
    with pytest.raises(MhcDiagError) as raised:
        find()
    assert raised.value.message.startswith("mhc-diag.toml") and told in raised.value.message
    assert hint in raised.value.hint and raised.value.exit_code == 2


def test_files_that_cannot_be_read(work: Path) -> None:
    (work / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (work / "pyproject.toml").write_text("[project]\nname = 'x'")
    (work / "folder.toml").mkdir()
    for name, told in {
        "missing.toml": "No such file",
        "binary.toml": "is no TOML",
        "folder.toml": "cannot be read",
        "pyproject.toml": "has no [tool.mhc-diag]",
    }.items():
        with pytest.raises(MhcDiagError) as raised:
            find(name)
        assert raised.value.message.startswith(name) and told in raised.value.message
    for tool in ("tool = 3", "[tool]\nmhc-diag = 3"):
        (work / "pyproject.toml").write_text(tool)
        with pytest.raises(MhcDiagError, match="table"):
            read(work / "pyproject.toml")


@pytest.mark.parametrize(
    ("name", "value", "told", "hint"),
    [
        ("MAXGAIN", "4", "unknown variable MHC_DIAG_MAXGAIN", "MHC_DIAG_MAX_GAIN"),
        ("MAX_GAIN", "four", "MHC_DIAG_MAX_GAIN is 'four'", ""),
        ("MAX_GAIN", "nan", "MHC_DIAG_MAX_GAIN is nan", ""),
        ("PROFILE", "mch", "MHC_DIAG_PROFILE is 'mch'", "mhc"),
        ("CONFIG", "missing.toml", "missing.toml cannot be read", ""),
        ("LIMIT", "inf_norm", "MHC_DIAG_LIMIT 'inf_norm' is no limit", ""),
        ("LEVEL", "MHC101", "MHC_DIAG_LEVEL 'MHC101' is no level", "MHC101=warn"),
        ("LEVEL", "MHC101=warn,MHC1=off", "MHC_DIAG_LEVEL names 'MHC1'", "did you mean MHC"),
    ],
)
def test_the_environment_is_checked_too(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str, hint: str
) -> None:
    monkeypatch.setenv(f"MHC_DIAG_{name}", value)
    with pytest.raises(MhcDiagError) as raised:
        find()
    assert told in raised.value.message and hint in raised.value.hint


def test_a_variable_that_is_not_about_limits_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHC_DIAG_TRACEBACK", "1")
    assert find().sources == ()


def test_the_page_names_every_statistic() -> None:
    page = (Path(__file__).parents[2] / "docs/gate.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| `statistic` |"))
    assert all(f"`{name}`" in row for name in STATISTICS)
