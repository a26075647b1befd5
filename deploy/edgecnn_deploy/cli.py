"""``edgecnn deploy``: a model onto devices, over the system's ssh, as a service that runs.

This module imports only Typer, so that ``edgecnn --help`` shows every command everywhere, at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def deploy(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL HOST...",
            help="The .onnx file or a name of `edgecnn models`, and the devices as ssh takes them: raspberrypi, "
            "pi@10.0.0.7, pi@door:2222, a name of ~/.ssh/config. With --uninstall devices only.",
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What the service is called, edgecnn@NAME: one for each camera. Unless given camera."
        ),
    ] = "",
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="What it looks at, as `edgecnn predict` takes it; repeatable. Unless given what is configured there, "
            "else pi.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="The whole configuration, in place of --source: keys are flags of `edgecnn predict`.",
        ),
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="edgecnn as a wheel. Unless given it is made from this checkout, or fetched from a package index, "
            "once edgecnn is on one.",
        ),
    ] = None,
    wheelhouse: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder with all wheels that a device needs, for devices without internet."),
    ] = None,
    extras: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Extras of edgecnn. Unless given those that are there, or cpu, and video where a service there has a "
            "source usb: or rtsp:.",
        ),
    ] = "",
    jobs: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="How many devices at a time.")] = 8,
    wait: Annotated[
        int,
        typer.Option(
            min=0,
            max=86_400,
            metavar="S",
            help="Seconds to wait for the first label before going back; 0: do not wait.",
        ),
    ] = 120,
    ssh_option: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="For ssh, as after its -o: IdentityFile=…, ProxyJump=…; repeatable."),
    ] = None,
    uninstall: Annotated[
        bool,
        typer.Option(
            "--uninstall",
            help="Stop and remove edgecnn there with all its services, but for models and configurations.",
        ),
    ] = False,
    purge: Annotated[bool, typer.Option("--purge", help="With --uninstall: these too, and the user edgecnn.")] = False,
) -> None:
    """Bring a model onto devices, and keep it running there as a service.

    A device that fails goes back to what it had, and the others go on. Needs a key that each device accepts, and sudo
    there without a password.

    Exit code 0: all devices are well; 1: one is not; 2: an option has no meaning; 3: a file is missing; 4: the model is
    refused.
    """
    from edgecnn.errors import UsageError
    from edgecnn_deploy.order import Order, order_of
    from edgecnn_deploy.report import run

    removal = [flag for flag, wanted in (("--uninstall", uninstall), ("--purge", purge)) if wanted]
    model, hosts = order_of(words, removal=removal)
    if removal and name:
        stop = f"sudo systemctl disable --now edgecnn@{name}"
        raise UsageError(
            f"--uninstall removes all services; received --name {name} too: leave it out, or there: {stop}"
        )
    given = {"source": source, "config": config, "wheel": wheel, "wheelhouse": wheelhouse, "extras": extras}
    ignored = [f"--{flag}" for flag, value in given.items() if value]
    if removal and ignored:
        raise UsageError(f"--uninstall goes with --purge only; received {' '.join(ignored)} too: leave it out")
    order = Order(
        model=model,
        hosts=hosts,
        name=name or "camera",
        sources=source or [],
        config=config,
        wheel=wheel,
        wheelhouse=wheelhouse,
        extras=extras,
        wait_s=wait,
        removal=removal,
    )
    code = run(order, ssh_option or [], jobs=jobs)
    if code:
        raise typer.Exit(code)
