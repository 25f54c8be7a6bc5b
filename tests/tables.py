"""All tables of the service, for tests of the whole schema."""

import intake_models  # noqa: F401 - imported for their tables
import webhook_models  # noqa: F401
from database.tables import Base, Table

TABLES = [model for model in Base.__subclasses__() + Table.__subclasses__() if model is not Table]
