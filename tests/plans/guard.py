"""Says what is wrong with how statements have read."""

from collections.abc import Iterable, Iterator, Mapping

from plans.explaining import Explainer
from plans.recording import Noted


def complaints(noted: Iterable[Noted], plans: Mapping[str, int], explainer: Explainer) -> Iterator[str]:
    """Yield what is wrong with statements that may follow some plans, each about so many rows."""
    for one in noted:
        if one.plan and one.plan not in plans:
            yield f"reads {one.plan}, and may only read {' or '.join(plans)}: {one.statement}"
        elif one.plan:
            most = plans[one.plan] * explainer.apiece + explainer.besides
            if one.read > most:
                yield f"took {one.read} {explainer.unit}, {most} at most, to read {one.plan}: {one.statement}"
