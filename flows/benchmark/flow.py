"""The benchmark's flow: every data set through every stage once, then experiments that only read what is stored."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from anoclust_core.benchmark.tables import Setting
from anoclust_core.evaluation.protocols import protocol_named
from flows.benchmark.ardelean import measure_blind
from flows.benchmark.deep import described
from flows.benchmark.request import BackboneJob, BenchmarkRequest, BlindJob
from flows.benchmark.sohn import draw, measure_pairwise
from tasks import telemetry
from tasks.benchmark.page import publish_benchmark, sohn_part, write_benchmark
from tasks.benchmark.page_ardelean import blind_part
from tasks.services.prefect_server import complete_anyway
from tasks.stores.layout import StoreLayout


@flow(name="benchmark", flow_run_name="benchmark")
def benchmark(
    manifests: dict[str, str],
    store: str,
    jobs: list[BackboneJob],
    blind: BlindJob | None,
    request: BenchmarkRequest,
    out: str,
) -> str:
    """Measure all categories with all backbones and write tables and figures.

    1. **embed**, **pair**: as in a run, blind and against the normals; Hausdorff distances come from the same pass.
    2. **measure**: temperatures first; where the paper does, the temperature is chosen on the other categories.
    3. **measure**: every other experiment.
    4. For tables of recipe blind **embed**, **localize**, **describe** as in a run, once for every setting, and
       **measure**.
    5. Tables, figures and raw numbers into the output folder.

    Parameters
    ----------
    manifests
        Path of the saved manifest by category, for ``jobs``.
    store
        Folder of the store.
    jobs
        Backbones of the tables of [SOHN23]: that of the tables first. None where no such table is asked for.
    blind
        What the tables of [ARDELEAN24] need, where one is asked for.
    request
        What to show.
    out
        Folder to write into.

    Returns
    -------
    page
        Path of ``benchmark.md``.
    """
    layout = StoreLayout(Path(store))
    measured = [measure_pairwise(layout, manifests, job, request) for job in jobs]
    parts = []
    if measured:
        main = measured[0]
        taus = {category: told for category, (_, _, told) in main.taus.items()}
        setting = Setting(protocol_named(request.protocol), main.job.spec, taus, described(main.job))
        pictures = draw(request, main.prepared, main.taus)
        by_backbone = {found.job.spec.backbone: found.results for found in measured}
        tables, figures = request.of_sohn
        parts.append(sohn_part(main.results, by_backbone, setting, tables, figures, pictures))
    if blind:
        results, blind_setting = measure_blind(layout, blind)
        parts.append(blind_part(results, blind_setting, *request.of_ardelean))
    page = write_benchmark(Path(out), parts)
    telemetry.finished("benchmark", str(page))
    with complete_anyway("the benchmark"):
        publish_benchmark(page)
    return str(page)
