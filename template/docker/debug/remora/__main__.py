"""Start the hub or the command `remora`, isolated from the program's modules.

python -I -S __main__.py hub DESCRIPTOR starts the hub: see main() in hub/server.py.
python -I -S __main__.py [ARGUMENT ...] runs the command: see command/command.py.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# install.py has given the package this name.
if sys.argv[1:2] == ["hub"]:
    # asyncio does without it, and it takes 4 MB.
    sys.modules["ssl"] = None
    from _remora.hub import server

    server.main(int(sys.argv[2]))
else:
    from _remora.command import command

    sys.exit(command.main(sys.argv[1:]))
