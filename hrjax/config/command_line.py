"""The flags of the command line, its usage, and where the config comes from."""

import dataclasses
import json
import pathlib
import re
import typing

from absl import flags
from ml_collections import ConfigDict, config_flags

if typing.TYPE_CHECKING:
    from hrjax.weights.source import Source

# JAX and everything that imports it wait until they are needed, so that --help answers at once.

USAGE = """Trains and evaluates high-resolution networks for human pose estimation.

draw people and train a small network on them (minutes on a CPU, no download):
    python -m hrjax.main --config=configs/quickstart.py
train a published recipe; the same command again continues where it stopped:
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_18_se
evaluate a run (its best step), as its own config says, on data elsewhere:
    python -m hrjax.main --mode=eval --checkpoint=runs/quickstart --config.data.root=PATH

--config=FILE[:VARIANT[_HxW]]  a recipe, and the variant of its network and input size; --mode=eval
                               defaults to the config of the checkpoint
--config.FIELD=VALUE           any field of it, e.g. --config.model.expansion=6 --config.seed=1
--workdir=FOLDER               where the run is; defaults to runs/<config>[_variant]. --mode=eval
                               defaults to the checkpoint's run, without one to runs/eval_<name>
--mode=train|eval              defaults to train
--checkpoint=PATH              what --mode=eval evaluates: a run, a step of it wherever it is,
                               converted weights, a file of published weights (.pth, .pdparams, …)
                               or its https address; defaults to the best step of --workdir
--output=FILE                  where --mode=eval writes its results as well: .json, or .mat for MPII
--resume_from=PATH             start a new --workdir from the full state of another run or step
--devices=0,1                  the devices of this machine to use; defaults to all
--launcher=none|auto|slurm|mpi many processes, as the launcher says (auto: Slurm, Open MPI, TPU)
--coordinator=HOST:PORT --num_processes=N --process_id=I
                               many processes, set by hand: process 0 runs at HOST
--debug                        show the traceback of an error
"""
CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
VARIANTS = pathlib.Path(__file__).parents[1] / "weights" / "fingerprints.json"  # family → variants
HELP = {"-h", "-help", "--help", "--helpfull"}


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


def usage() -> str:
    """The help text."""
    return f"{USAGE}\n{_list_configs()}"


def parse(argv: list[str]) -> Command:
    """The command in `argv`; ValueError or flags.Error says what is wrong with it."""
    options = flags.FlagValues()
    _define_flags(options)
    files = _config_files(argv)
    # Undefined flags, --config among them, are left for the second reading.
    _read(options, argv, known_only=True)
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
    from hrjax.runtime import distributed

    launchers = [*distributed.LAUNCHERS]
    flags.DEFINE_string("workdir", "", "where the run is", flag_values=options)
    flags.DEFINE_enum("mode", "train", ["train", "eval"], "what to do", flag_values=options)
    flags.DEFINE_string("checkpoint", "", "what eval evaluates", flag_values=options)
    flags.DEFINE_string("output", "", "where eval writes results too", flag_values=options)
    flags.DEFINE_string("resume_from", "", "what training starts from", flag_values=options)
    flags.DEFINE_string("devices", "all", "numbers of devices", flag_values=options)
    flags.DEFINE_enum("launcher", "none", launchers, "how processes start", flag_values=options)
    flags.DEFINE_string("coordinator", "", "host:port of process 0", flag_values=options)
    flags.DEFINE_integer("num_processes", None, "how many", flag_values=options)
    flags.DEFINE_integer("process_id", None, "which one", flag_values=options)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=options)


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
            "no --config=FILE in the command (--mode=eval with --checkpoint=PATH needs none)\n\n"
            f"{_list_configs()}"
        )
    file = pathlib.Path(files[-1].split(":")[0])
    if not file.is_file():
        from hrjax import recipes

        raise ValueError(recipes.missing_config(str(file)))


def _list_configs():
    names = sorted(file.stem for file in CONFIGS.glob("*.py"))
    rows = [f"    configs/{name}.py" for name in names if name not in ("__init__", "common")]
    families = json.loads(VARIANTS.read_text(encoding="utf-8")).values()
    variants = [f"    {', '.join(family)}" for family in families]
    return "\n".join(["configs:", *rows, "variants, one family a line:", *variants])
