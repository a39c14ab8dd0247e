"""The session of a unit of work: reads whatever a caller selects, writes everything but the store's own tables."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from openclaw_store.errors import ValidationError
from openclaw_store.models import Base


class StoreSession(Session):
    """A session whose ORM and SQL writes to the store's own tables are refused with ValidationError.

    They would pass by the history, and every cache would be wrong from then on. Textual SQL is not looked into.
    """


@event.listens_for(StoreSession, "before_flush")
def _refuse_objects(session: Session, _context: UOWTransaction, _instances: Any) -> None:
    for instance in (*session.new, *session.dirty, *session.deleted):
        if isinstance(instance, Base):
            raise _refusal(instance.__tablename__)


@event.listens_for(StoreSession, "do_orm_execute")
def _refuse_statements(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        table = getattr(state.statement, "table", None)
        if table is not None and table.metadata is Base.metadata:
            raise _refusal(table.name)


def _refusal(table: str) -> ValidationError:
    return ValidationError(
        "session", f"writes to the store's own table {table!r}: use uow.tasks and uow.nodes, which keep the history"
    )
