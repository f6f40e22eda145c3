"""The subscriptions of all clients: cursors on the event log, and the methods that begin and end them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import InvalidInput, OverCap, Temporary
from ..model.event import ALL_SESSIONS, DEFAULT_CONSUMER, Line
from ..store.interface import EventStore
from ..store.log_reader import LogReader, start_of
from . import jsonrpc
from .connection import LOW_WATER, Call, Connection, Subscription
from .methods import Method
from .protocol import PARAMETERS

#: The number of events in a page of the log, and of pages read for one client before other clients get their turn.
PAGE = 64
PAGES_PER_TURN = 4

#: The maximum number of subscriptions of one connection.
MAX_SUBSCRIPTIONS = 16 * 1024


class Subscriptions:
    """Sends each event to its subscribers in order, however far behind they are."""

    def __init__(self, log: EventStore) -> None:
        """Serve the events of this log."""
        self._log = log
        self._by_parent: dict[str, dict[Subscription, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_parent.values()))

    def methods(self) -> dict[str, Method]:
        """Return the methods of the socket that are about subscriptions and cursors."""
        handlers = {"subscribe": self._subscribe, "unsubscribe": self._unsubscribe, "ack": self._acknowledge}
        return {name: Method(PARAMETERS[name], handler) for name, handler in handlers.items()}

    def publish(self, lines: Iterable[Line]) -> None:
        """Send new events of the log to their subscribers."""
        receivers: dict[Connection, None] = {}
        for line in lines if self._by_parent else ():
            for subscription in self._subscribers(line):
                self._deliver(subscription, line)
                receivers[subscription.connection] = None
        for connection in receivers:
            connection.flush()

    def catch_up(self, connection: Connection) -> None:
        """Send a client some of the events that it has not received yet. Its subscriptions take turns."""
        for _ in range(PAGES_PER_TURN):
            if not (connection.lagging and connection.has_room):
                return
            subscription = connection.lagging.popleft()
            try:
                subscription.lagging = self._send_page(subscription)
            except Exception:
                logging.getLogger("backburner").exception("the event log cannot be read")
                connection.refuse(Temporary("The event log cannot be read; try again later."))
                return
            if subscription.lagging:
                connection.lagging.append(subscription)

    def drop_all(self, connection: Connection) -> None:
        """End all subscriptions of a client."""
        for subscription in connection.subscriptions:
            self._drop_subscription(subscription)
        connection.subscriptions.clear()
        connection.lagging.clear()

    def _subscribe(self, params: dict[str, Any], call: Call) -> object:
        connection = call.connection
        if len(connection.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise OverCap(f"One connection holds at most {MAX_SUBSCRIPTIONS} subscriptions.")
        result: dict[str, Any] = {"seq": self._log.last_seq(), "log": self._log.id()}
        types, parent, consumer = params.get("types"), params["parentSessionId"], _consumer(params)
        reader = LogReader(self._log, parent, start_of(self._log, parent, consumer, params.get("after")))
        subscription = Subscription(connection, parent, consumer, None if types is None else frozenset(types), reader)
        connection.subscriptions.append(subscription)
        self._by_parent.setdefault(subscription.parent, {})[subscription] = None
        subscription.fall_behind()
        return result

    def _unsubscribe(self, params: dict[str, Any], call: Call) -> object:
        """End the newest subscription of this parent and consumer, if there is one."""
        parent_and_consumer = (params["parentSessionId"], _consumer(params))
        for subscription in reversed(call.connection.subscriptions):
            if (subscription.parent, subscription.consumer) == parent_and_consumer:
                self._drop_subscription(subscription)
                call.connection.subscriptions.remove(subscription)
                if subscription.lagging:
                    call.connection.lagging.remove(subscription)
                return {"ended": True}
        return {"ended": False}

    def _acknowledge(self, params: dict[str, Any], call: Call) -> object:
        """Move a cursor forward and return its position."""
        parent = params["parentSessionId"]
        if parent == ALL_SESSIONS:
            raise InvalidInput("Only the events of one session can be acknowledged.", field="parentSessionId")
        return {"seq": self._log.acknowledge(parent, _consumer(params), params["seq"])}

    def _subscribers(self, line: Line) -> Iterator[Subscription]:
        yield from self._by_parent.get(ALL_SESSIONS, ())
        if line.parent is not None and line.parent != ALL_SESSIONS:
            yield from self._by_parent.get(line.parent, ())

    def _deliver(self, subscription: Subscription, line: Line) -> None:
        if subscription.lagging or line.seq <= subscription.reader.seq:
            return
        if subscription.connection.is_full:
            subscription.fall_behind()
        else:
            subscription.deliver(line)

    def _send_page(self, subscription: Subscription) -> bool:
        """Send as much of the next page of the log as there is room for. Return True if more events may follow."""
        page = subscription.reader.page(PAGE, LOW_WATER)
        if page.truncation is not None:
            event = json.dumps(page.truncation.to_json())
            subscription.connection.queue(jsonrpc.encode_notification(page.truncation.type, event))
        for line in page.lines:
            if subscription.connection.is_full:
                return True
            subscription.deliver(line)
        return not page.is_last

    def _drop_subscription(self, subscription: Subscription) -> None:
        subscriptions = self._by_parent[subscription.parent]
        del subscriptions[subscription]
        if not subscriptions:
            del self._by_parent[subscription.parent]


def _consumer(params: Mapping[str, Any]) -> str:
    return params.get("consumer") or DEFAULT_CONSUMER
