"""The flags of the command line, its usage, and where the config comes from."""

import dataclasses
import json
import pathlib
import re
import typing

from absl import flags
from ml_collections import ConfigDict, config_flags

from data_pipelines.messages import choices

if typing.TYPE_CHECKING:
    from hrjax.weights.source import Source

# JAX and everything that imports it wait until they are needed, so that --help answers at once.

USAGE = """Trains and evaluates high-resolution networks for human pose estimation.

draw people and train a small network on them (minutes, no download):
    python -m hrjax.main --config=configs/quickstart.py
train a published recipe; the same command again continues where it stopped:
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_18_se
evaluate a run (its best step), as its own config says, on data elsewhere:
    python -m hrjax.main --mode=eval --checkpoint=runs/quickstart \\
        --config.data.root=PATH

--config=FILE[:VARIANT[_HxW]]  a recipe, and the variant of its network and its
                      input size (height x width as in the papers, _384x288);
                      --mode=eval defaults to the config of the checkpoint
--config.FIELD=VALUE  any field of it, e.g. --config.optimizer.lr=1e-3
--workdir=FOLDER      where the run is; defaults to runs/<config>[_variant],
                      with --mode=eval to the run of the checkpoint
--mode=train|eval     defaults to train
--checkpoint=PATH     what --mode=eval evaluates: a run, a step of it, converted
                      weights, a file of published weights (.pth, .pdparams, …)
                      or its https address; defaults to --workdir's best step
--output=FILE         where --mode=eval writes its results as well: .json, or
                      .mat for MPII
--resume_from=PATH    start a new --workdir from the full state of another run
--devices=0,1         the devices of this machine to use; defaults to all
--launcher=none|auto|slurm|mpi   many processes, as the launcher says
--coordinator=HOST:PORT --num_processes=N --process_id=I   the same by hand
--debug               show the traceback of an error

--help=TOPIC prints all of a list:
"""
CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
VARIANTS = pathlib.Path(__file__).parents[1] / "weights" / "fingerprints.json"  # family → variants
HELP = {"-h", "-help", "--help", "--helpfull"}
MODES = ("train", "eval")
SHOWN = 3  # entries of a list that is folded
# Lines of configs/common.py that say what a field is.
FIELD = re.compile(r"    (config\.(?!.*ConfigDict\(\))|# )|    [ )}]")


@dataclasses.dataclass(frozen=True)
class Command:
    """A parsed command line.

    `config_file` is the value of --config, "" where the config is that of `weights`, which were
    opened for it.
    """

    flags: flags.FlagValues
    config_file: str
    weights: "Source | None"

    @property
    def config(self) -> ConfigDict:
        """The config with the command's own values."""
        return self.flags.config

    @property
    def workdir(self) -> pathlib.Path:
        """Where the run is, or where an evaluation without a run is written."""
        if self.flags.workdir:
            return pathlib.Path(self.flags.workdir)
        if self.config_file:
            name, _, variant = self.config_file.partition(":")
            stem = pathlib.Path(name).stem
            return pathlib.Path("runs", f"{stem}_{variant}" if variant else stem)
        return self.weights.run or pathlib.Path("runs", f"eval_{self.weights.name}")


def topic(argv: list[str]) -> str | None:
    """What a command asks help about: one of TOPICS, "" for all of it; None if for nothing."""
    asked = [text.partition("=") for text in argv[1:]]
    topics = [value for name, _, value in asked if name in HELP]
    if len(argv) == 1 or topics:
        return topics[0] if topics else ""
    return None


def usage(about: str = "") -> str:
    """The help text, with its lists folded; or one of them, of TOPICS, as a whole."""
    if not about:
        return f"{USAGE}{_fold_lists()}"
    if about not in TOPICS:
        raise ValueError(choices.unknown("topic of --help", about, TOPICS))
    return TOPICS[about]()


def parse(argv: list[str]) -> Command:
    """The command in `argv`; ValueError or flags.Error says what is wrong with it."""
    options = flags.FlagValues()
    _define_flags(options)
    files = _config_files(argv)
    _check_names(argv, options)
    # Undefined flags, --config among them, are left for the second reading.
    _read(options, argv, known_only=True)
    _check_choices(options)
    checkpoint = options.checkpoint or options.workdir
    weights = None
    if options.mode == "eval" and checkpoint and not files:
        from hrjax.weights import source

        weights = source.open(checkpoint)
        own = weights.config.copy_and_resolve_references()
        _check_fields(argv, own)
        config_flags.DEFINE_config_dict("config", own, flag_values=options, sys_argv=argv)
    else:
        from hrjax import recipes

        _check_config_file(files)
        _check_fields(argv, recipes.read(files[-1]))
        config_flags.DEFINE_config_file("config", flag_values=options, lock_config=True)
    rest = _read(options, argv)
    if rest:
        raise ValueError(f"unknown argument {rest[0]!r}; every option starts with --")
    _check(options)
    return Command(options, files[-1] if files else "", weights)


def _define_flags(options):
    flags.DEFINE_string("workdir", "", "where the run is", flag_values=options)
    flags.DEFINE_string("mode", "train", "what to do", flag_values=options)
    flags.DEFINE_string("checkpoint", "", "what eval evaluates", flag_values=options)
    flags.DEFINE_string("output", "", "where eval writes results too", flag_values=options)
    flags.DEFINE_string("resume_from", "", "what training starts from", flag_values=options)
    flags.DEFINE_string("devices", "all", "numbers of devices", flag_values=options)
    flags.DEFINE_string("launcher", "none", "how processes start", flag_values=options)
    flags.DEFINE_string("coordinator", "", "host:port of process 0", flag_values=options)
    flags.DEFINE_integer("num_processes", None, "how many", flag_values=options)
    flags.DEFINE_integer("process_id", None, "which one", flag_values=options)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=options)


def _check_names(argv, options):
    """Raises ValueError for an option that there is not."""
    known = sorted([*options, "config"])
    for argument in argv[1:]:
        name = argument.partition("=")[0]
        own = name.lstrip("-").partition(".")[0]
        if re.match(r"--?\w", name) and own not in (*known, "nodebug"):
            meant = choices.proposal(choices.near(name, [f"--{x}" for x in known]), after="; ")
            raise ValueError(f"unknown option {name}{meant or '; --help lists all of them'}")


def _check_choices(options):
    from hrjax.runtime import distributed

    for name, known in (("mode", MODES), ("launcher", distributed.LAUNCHERS)):
        if options[name].value not in known:
            advice = choices.advice(options[name].value, known)
            raise ValueError(f"--{name}={options[name].value}: {advice}")


def _check_fields(argv, config):
    """Raises ValueError for --config.FIELD of fields that `config` does not have."""
    from hrjax.config import fields

    flag = re.compile(r"--?config\.([^=]+)")
    names = [match[1] for argument in argv if (match := flag.match(argument))]
    problems = fields.unknown_fields(names, config)
    if problems:
        raise ValueError("\n".join(problems))


def _read(options, argv, *, known_only=False):
    """Sets the flags; returns what is left of the command."""
    try:
        return options(argv, known_only=known_only)[1:]
    except flags.IllegalFlagValueError as error:
        raise ValueError(_first_cause(error)) from error


def _first_cause(error):
    """The error that a config file raised, without the traceback that ml_collections adds."""
    if "Traceback" not in str(error):
        return str(error)
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _check(options):
    if options.mode == "eval" and options.resume_from:
        raise ValueError("--resume_from belongs to training; name the --checkpoint to evaluate")
    if options.mode == "train" and options.output:
        raise ValueError("--output belongs to --mode=eval")
    if options.mode == "train" and options.checkpoint:
        raise ValueError(
            "--checkpoint belongs to --mode=eval; to train further, use --resume_from (the full "
            "state) or --config.init_from (the weights)"
        )


def _config_files(argv):
    """The values of --config in the command."""
    return [
        following if argument.count("=") == 0 else argument.split("=", 1)[1]
        for argument, following in zip(argv, [*argv[1:], ""], strict=True)
        if argument.split("=")[0] in ("--config", "-config")
    ]


def _check_config_file(files):
    if not files:
        raise ValueError(
            "no --config=FILE in the command (--mode=eval with --checkpoint=PATH needs none); "
            "--help=configs lists those that are here, and configs/quickstart.py needs no data"
        )
    file = pathlib.Path(files[-1].split(":")[0])
    if not file.is_file():
        from hrjax import recipes

        raise ValueError(recipes.missing_config(str(file)))


def _configs():
    names = sorted(file.stem for file in CONFIGS.glob("*.py"))
    return [f"configs/{name}.py" for name in names if name not in ("__init__", "common")]


def _variants():
    """The variants, one family a row."""
    families = json.loads(VARIANTS.read_text(encoding="utf-8")).values()
    return [", ".join(family) for family in families]


def _fields():
    """The fields of a config as configs/common.py has them, with their defaults and meanings."""
    _, _, text = (CONFIGS / "common.py").read_text(encoding="utf-8").partition("def _base()")
    return [line[4:] for line in text.split("\n") if FIELD.match(line) and "add_sec" not in line]


def _datasets():
    from data_pipelines import datasets

    return [*datasets.DATASETS]


TOPICS = {
    "configs": lambda: "\n".join(_configs()),
    "models": lambda: "\n".join(["one family a line:", *_variants()]),
    "fields": lambda: "\n".join([*_fields(), "config.model.* are those of its variant"]),
    "datasets": lambda: "\n".join(_datasets()),
}


def _fold_lists():
    variants = ", ".join(_variants()).split(", ")
    lists = {"configs": [pathlib.Path(file).stem for file in _configs()], "models": variants}
    rows = [
        f"  {name:10}{len(names)}: {', '.join(names[:SHOWN])}, …" for name, names in lists.items()
    ]
    rows += ["  fields    of a config, with their defaults", "  datasets  that are read"]
    return "\n".join(rows)
