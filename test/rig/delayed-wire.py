"""A wire of given length between two TAP devices: what comes out of one goes into the other so many milliseconds later.

    delayed-wire.py DEVICE DEVICE MS

Both devices are made here, may then be moved to other network namespaces, and are gone when this process is. Says `ready` when they
are there. This kernel has no netem, so the delay is made by a process; it keeps up with some 100 Mbit/s.
"""

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
# A wire holds what is under way and no more: at 100 Mbit/s, a second's worth.
MOST = 10_000
LARGEST_FRAME = 65_536


def tap(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


def main(one, other, ms):
    ends = [tap(one), tap(other)]
    print("ready", flush=True)
    delay = float(ms) / 1000
    under_way = {device: deque() for device in ends}
    across = {ends[0]: ends[1], ends[1]: ends[0]}
    poll = select.poll()
    for device in ends:
        poll.register(device, select.POLLIN)
    while True:
        dues = [queue[0][0] for queue in under_way.values() if queue]
        # Rounded up, or the last part of a millisecond would be spent asking.
        wait = max(0, int((min(dues) - time.monotonic()) * 1000 + 0.999)) if dues else None
        for device, _ in poll.poll(wait):
            try:
                while len(under_way[device]) < MOST:
                    frame = os.read(device, LARGEST_FRAME)
                    under_way[device].append((time.monotonic() + delay, frame))
            except BlockingIOError:
                pass
            except OSError:
                # The interface is down, as a test wants it.
                time.sleep(0.001)
        now = time.monotonic()
        for device, queue in under_way.items():
            while queue and queue[0][0] <= now:
                try:
                    os.write(across[device], queue.popleft()[1])
                except OSError:
                    pass  # Its queue is full, or it is down: on a wire the frame is lost.


main(*sys.argv[1:])
