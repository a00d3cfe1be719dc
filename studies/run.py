"""Train and evaluate every team of a folder of studies. Finished work is kept: run it again to resume.

python studies/run.py commformer                    all studies of it, as many teams at a time as cores
python studies/run.py commformer gates --seeds 3    one study, three seeds
python studies/commformer_page.py                   writes docs/commformer.md from the recorded cells
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agentcomm import api
from agentcomm.runs.choices import apply_override
from agentcomm.runs.config import RunConfig, dump, parse

HERE = Path(__file__).parent
FOLDERS = sorted({path.parent.name for path in HERE.glob("*/*.yaml")})
ROOT = Path("runs")


def studies_of(folder: str) -> list[str]:
    """Names of the studies of a folder."""
    return sorted(path.stem for path in (HERE / folder).glob("*.yaml"))


def study(folder: str, name: str) -> dict[str, Any]:
    """A study's file: ``base`` (a run's config) and ``teams`` (changes of it by dotted key)."""
    loaded: dict[str, Any] = yaml.safe_load((HERE / folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def run_name(study_name: str, team: str) -> str:
    """Name of a team's run folder."""
    return f"{study_name}-{re.sub('[^A-Za-z0-9.]+', '_', team)}"


def configs(folder: str, name: str, seeds: int) -> dict[str, RunConfig]:
    """The run of every team of a study, by the team's name."""
    about, out = study(folder, name), {}
    for team, changes in about["teams"].items():
        data = json.loads(json.dumps(about["base"]))  # a deep copy
        data["name"], data["seeds"] = run_name(name, team), list(range(seeds))
        data.setdefault("evaluation", {}).setdefault("recordings", 0)
        data["training"] = {"threads": 1} | data["training"]
        for key, value in changes.items():
            apply_override(data, f"{key}={json.dumps(value)}")
        out[team] = parse(data, f"{name}: {team}")
    return out


def work(config: RunConfig, root: Path) -> None:
    """Train and evaluate one run, in a child process."""
    run = api.train(config, root=root, resume=True)
    api.evaluate(run)


def steps_done(folder: Path) -> int:
    """Env steps for which the teams of a run have been trained so far."""
    done = 0
    for path in folder.glob("teams/*/progress.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        done += json.loads(lines[-1])["env_steps"] if lines else 0
    return done


def main(
    folder: Annotated[str, typer.Argument(help=f"which studies: {', '.join(FOLDERS)}")],
    studies: Annotated[list[str] | None, typer.Argument(help="names of some of them; all by default")] = None,
    seeds: Annotated[int, typer.Option(help="teams per configuration")] = 5,
    jobs: Annotated[int, typer.Option(help="runs at a time, one thread each")] = os.cpu_count() or 1,
    root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT,
    team: Annotated[list[str] | None, typer.Option(help="only this team; may be given several times")] = None,
    one: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Train and evaluate the teams of these studies, several at a time; resumes where it stopped."""
    root = root / folder
    if one is not None:
        work(parse(yaml.safe_load(one.read_text(encoding="utf-8")), str(one)), root)
        return
    for name in [folder] if folder not in FOLDERS else set(studies or ()) - set(studies_of(folder)):
        have = studies_of(folder) or FOLDERS
        raise typer.BadParameter(f"there is no {name!r} in {HERE.name}/; there are {', '.join(have)}")
    names = studies or studies_of(folder)
    todo = [c for name in names for t, c in configs(folder, name, seeds).items() if not team or t in team]
    (root / "configs").mkdir(parents=True, exist_ok=True)
    running: dict[str, tuple[subprocess.Popen[bytes], RunConfig]] = {}
    failed: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console()) as progress:
        whole = progress.add_task("runs", total=len(todo))
        bars: dict[str, Any] = {}
        try:
            while todo or running:
                while todo and len(running) < jobs:
                    config = todo.pop(0)
                    path = root / "configs" / f"{config.name}.yaml"
                    path.write_text(dump(config), encoding="utf-8")
                    command = [sys.executable, __file__, folder, "--one", str(path), "--root", str(root.parent)]
                    log = (root / "configs" / f"{config.name}.log").open("wb")
                    running[config.name] = subprocess.Popen(command, stdout=log, stderr=log), config
                    teams = len(config.seeds) * (2 if config.control else 1)
                    bars[config.name] = progress.add_task(config.name, total=teams * config.training.env_steps)
                time.sleep(1)
                for name, (process, _) in list(running.items()):
                    progress.update(bars[name], completed=steps_done(root / name))
                    if process.poll() is not None:
                        del running[name]
                        progress.remove_task(bars.pop(name))
                        progress.advance(whole)
                        if process.returncode:
                            failed.append(f"{name} (see {root / 'configs' / f'{name}.log'})")
        except KeyboardInterrupt:
            progress.console.print("Stopping; every team writes its checkpoint first.")
            for process, _ in running.values():
                process.wait()
            raise typer.Exit(130) from None
    if failed:
        Console(stderr=True).print("Failed: " + ", ".join(failed))
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
