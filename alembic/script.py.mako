"""${message[:1].upper() + message[1:]}.

Refer to no model here: a revision says what the schema was on its day, and models go on changing.
docs/dev/migrations.md says what makes it fit to be killed and run again.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = "${up_revision}"
down_revision: str | None = ${'"%s"' % down_revision if down_revision else None}
branch_labels: str | None = ${'"%s"' % branch_labels if branch_labels else None}
depends_on: str | None = ${'"%s"' % depends_on if depends_on else None}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
