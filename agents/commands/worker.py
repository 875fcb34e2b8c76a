"""`engage worker`."""

import click

from agents.commands.base import examples, finish, read_settings


@click.command(
    epilog=examples("engage worker", "ENGAGE_HTTP_PORT=0 engage worker", "ENGAGE_BROKER=kafka-1:9092,kafka-2:9092 ENGAGE_SITES=sites.yml engage worker")
)
@click.option("--embedded", is_flag=True, hidden=True, help="For `engage run`: no fence, and end with standard input.")
def worker(embedded: bool) -> None:
    """Count events and read measures, until SIGTERM or Ctrl-C.

    Start as many as you like, up to one per partition. Health, metrics, status and alerts are served on ENGAGE_HTTP_HOST and ENGAGE_HTTP_PORT; of several
    on one machine each needs a port of its own: ENGAGE_HTTP_PORT=0 takes any free one, and the log says which.
    """
    from agents.files import read_sites

    settings = read_settings()
    sites = read_sites(settings)
    settings.client_kwargs()  # certificates that cannot be read are said now

    from agents.alerting import Alerting
    from agents.app import Engine, create_app, run_worker
    from agents.metrics import ReadingsCollector

    alerting = Alerting(settings, sites, lambda: engine.states(), lambda: engine.url)
    collectors = [ReadingsCollector(lambda: engine.states()), alerting]
    beside = [alerting.deliver, alerting.keep_rules]
    engine = Engine(settings, alerting.new_state, fence=not embedded, collectors=collectors, beside=beside, alerts=alerting.alerts)
    if embedded:
        from agents.run import end_with_standard_input

        end_with_standard_input()
    finish(run_worker(create_app(engine)))
