"""Hydra's side of a sweep: its combinations one after the other, its jobs by any launcher."""

import copy
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

if TYPE_CHECKING:  # Hydra loads this with every verb, and few of them train
    from scaling.training.dispatch import Job, Launch

JOB_OVERRIDES = [  # a job leaves no folder where it runs, and does not log
    "hydra.sweep.dir=.",
    "hydra.sweep.subdir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=disabled",
    "hydra/hydra_logging=disabled",
]
NAMED = ("grid", "data", "family", "name", "out")  # which name a folder already
INTERRUPTED = 130  # exit code of a verb that the keyboard stopped


class ScalingSweeper(BasicSweeper):
    """Run the verb here once per combination, and give its jobs to the launcher.

    Hydra's own sweeper hands every combination to the launcher as one job. A combination is a
    whole sweep of ours: it plans, trains what is missing and fits. So the verb itself stays on
    this machine, and where a launcher was chosen its trunks go there, one job each.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over; launchers are made when there are jobs for them."""
        self.hydra_context, self.config = hydra_context, config
        self.here = BasicLauncher()
        self.here.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run every combination, and say how each ended; exit 1 where one did not succeed."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        combinations = [
            [*combination, names_only_what_is_swept(overrides)]
            for combination in self.split_arguments(overrides, None)[0]
        ]
        self.validate_batch_is_legal(combinations)
        swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
        names = [
            " ".join(word for word in c if word.partition("=")[0].lstrip("+~") in swept)
            for c in combinations
        ]
        done = [self._succeeds(c, n, names[n]) for n, c in enumerate(combinations)]
        if any(names):  # else a launcher was chosen, and nothing swept
            print(f"{len(done)} jobs, {sum(done)} of them done")
            for name, succeeded in zip(names, done, strict=True):
                print(f"  {'done' if succeeded else 'FAILED'}: {name}")
        if not all(done):
            sys.exit(1)

    def _succeeds(self, combination: Sequence[str], number: int, name: str) -> bool:
        """Run the verb on one combination; say on stderr which job failed, and why."""
        from scaling.training.dispatch import carried_by

        try:
            with carried_by(self._launch()):
                _ = self.here.launch([combination], number)[0].return_value
        except SystemExit as end:
            if end.code == INTERRUPTED:
                raise
            if isinstance(end.code, str):
                print((f"job {number}, {name}: " if name else "") + end.code, file=sys.stderr)
            return not end.code
        return True

    def _launch(self) -> "Launch | None":
        """Return what carries jobs to the launcher; None where it is Hydra's own, here."""
        context, config = self.hydra_context, self.config
        assert context is not None and config is not None
        if config.hydra.launcher._target_.endswith(f".{BasicLauncher.__name__}"):
            return None
        if config.hydra.launcher._target_.endswith("SlurmLauncher") and not shutil.which("srun"):
            raise ValueError(
                "dispatch=slurm: there is no srun here; run it on a login node of the cluster, or "
                "dispatch=submitit_local on this machine"
            )

        def launch(job: "Job") -> Callable[[], Any]:
            connect_to_ray(config)
            carry_this_module()
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=as_rank(job), config=for_a_job(config)
            )
            return lambda: launcher.launch([[]], job.number)[0].return_value

        return launch


def names_only_what_is_swept(overrides: Sequence[Override]) -> str:
    """Keep what all combinations share out of `hydra.job.override_dirname`.

    A sweep that goes to a cluster is then the same sweep, in the same folder, as one here.
    """
    shared = [override.key_or_group for override in overrides if not override.is_sweep_override()]
    return f"hydra.job.config.override_dirname.exclude_keys=[{','.join([*shared, *NAMED])}]"


def for_a_job(config: DictConfig) -> DictConfig:
    """Copy the configuration, which launchers compose anew for every job, without the verb's part.

    A job has all that it needs. The verb's schema lives in `__main__`: it would travel by value,
    come back in what the job returns, and its fields would not be recognised as such any more.
    """
    config = copy.deepcopy(config)  # a launcher runs in a thread of its own
    with read_write(config.hydra):
        ask_for_ranks(config.hydra.launcher, config.parallel.ranks, config.device)
        config.hydra.job.config_name = None
        config.hydra.overrides.hydra = JOB_OVERRIDES
    return config


def ask_for_ranks(launcher: DictConfig, ranks: int, device: str) -> None:
    """Ask for a device per rank: SLURM for a task with one, Ray for all of them in a job.

    With device=cuda a device is a GPU; what the user asks for stays.
    """
    if ranks == 1:
        return
    if ".hydra_submitit_launcher." in launcher._target_:
        if launcher.tasks_per_node * launcher.nodes != ranks:
            launcher.tasks_per_node = max(1, ranks // launcher.nodes)
        if device == "cuda" and not launcher.gpus_per_node:
            launcher.gpus_per_node = launcher.tasks_per_node
    elif ".hydra_ray_launcher." in launcher._target_:
        launcher.ray.remote.num_cpus = max(ranks, launcher.ray.remote.num_cpus)
        if device == "cuda":
            launcher.ray.remote.num_gpus = max(ranks, launcher.ray.remote.num_gpus)


def as_rank(job: "Job") -> Callable[[Any], Any]:
    """Tell a job that is several tasks of submitit, in the words of torchrun, which rank it is."""

    def run(composed: Any = None) -> Any:
        if job.plan.ranks > 1 and "SUBMITIT_EXECUTOR" in os.environ:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        return job(composed)

    return run


def connect_to_ray(config: DictConfig) -> None:
    """Connect before threads do so at the same time; nothing to do for other launchers."""
    if ".hydra_ray_launcher." not in config.hydra.launcher._target_:
        return
    import ray

    if not ray.is_initialized():
        options = OmegaConf.to_container(config.hydra.launcher.ray.init, resolve=True)
        assert isinstance(options, dict)
        ray.init(**{str(name): value for name, value in options.items()})


def carry_this_module() -> None:
    """Let picklers send this module along: only `scaling.sweep` knows where it lies.

    Launchers send Hydra's state to every worker, and the list of plugins is part of it.
    """
    for pickler in ("cloudpickle", "ray.cloudpickle"):
        if importlib.util.find_spec(pickler.partition(".")[0]):
            importlib.import_module(pickler).register_pickle_by_value(sys.modules[__name__])
