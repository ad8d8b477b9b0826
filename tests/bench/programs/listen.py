"""What debugpy itself takes until a client can attach. Prints it in seconds."""

import sys
import time

# The hook has no debugger in mode off.
sys.path.append("/opt/remora/python{}.{}".format(*sys.version_info))

start = time.perf_counter()

import debugpy  # noqa: E402

debugpy.listen(("127.0.0.1", 5678))
print(time.perf_counter() - start)
