"""What was sent on each stream, so that a client which lost one can go on where it was."""

from collections import defaultdict

from mcp.server.streamable_http import EventMessage, EventStore


class EventLog(EventStore):
    """An event's id is its stream's id and its place on that stream."""

    def __init__(self):
        self.streams = defaultdict(list)

    async def store_event(self, stream_id, message):
        stream = self.streams[stream_id]
        stream.append(message)
        return f"{stream_id}_{len(stream)}"

    async def replay_events_after(self, last_event_id, send_callback):
        stream_id, _, place = last_event_id.rpartition("_")
        if stream_id not in self.streams or not place.isdigit():
            return None
        for place, message in enumerate(self.streams[stream_id][int(place) :], int(place) + 1):
            if message is not None:
                await send_callback(EventMessage(message, f"{stream_id}_{place}"))
        return stream_id
