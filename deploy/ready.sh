#!/bin/sh
# Exit with 0 if the server in this container is ready to work: it answers /readyz with 200.
exec python - <<'PYTHON'
import os
import sys
import urllib.request

try:
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/readyz", timeout=4):
        pass
except OSError as error:
    sys.exit(str(error))
PYTHON
