"""What ``dispatch verify`` can find: each kind has an id that never changes, a severity and a remedy.

``docs/reference/verify.md`` lists them in the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dispatch import health

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where registry and workers disagree.

    ``subject`` is the name of the task, queue, route, trigger, worker or broker that it is about.
    """

    id: str
    severity: Severity
    subject: str
    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding; ``sentence`` and ``remedy`` are templates of :meth:`str.format`."""

    id: str
    severity: Severity
    title: str
    sentence: str
    remedy: str

    def found(self, subject: str, **words: Any) -> Finding:
        """Return the finding about ``subject``, which the templates may name beside ``words``."""
        words["subject"] = subject
        sentence, remedy = self.sentence.format_map(words), self.remedy.format_map(words)
        return Finding(self.id, self.severity, subject, sentence, remedy)


SYNC = "bring the registry up to date: `manage.py dispatch manifest sync FILE`"
EXPORT = "run `manage.py dispatch routes export` and start the worker with that routing.json"

# -- C00x: tasks, and what names them ---------------------------------------------------------------

TRIGGER = Kind(
    "C001",
    "error",
    "a trigger sends a task that no worker offers",
    "{trigger} sends {task!r}, which {why}.",
    "Correct the name of the task there, or let the worker offer it again.",
)
ROUTE = Kind(
    "C002",
    "error",
    "a route names a task that no worker offers",
    "The route for the exact name {subject!r} waits for a task which {why}.",
    "Correct the name of the route, or delete it.",
)
PENDING = Kind(
    "C003",
    "error",
    "messages in the outbox wait for a task that no worker offers",
    "In the outbox {messages} for {subject!r}, which {why}.",
    "Cancel them in the admin, or let the worker offer the task again.",
)
GONE = Kind(
    "C004",
    "error",
    "a registered task is no longer offered",
    "Task {subject!r} is registered, but {worker} does not offer it{close}.",
    "If it was renamed or dropped by mistake, take that back in the worker. Else change what sends it, then "
    + SYNC
    + ".",
)
UNREGISTERED = Kind(
    "C005",
    "warning",
    "an offered task is not registered",
    "Task {subject!r} is offered by {worker}, and {why}: it cannot be sent yet.",
    "To send it, " + SYNC + ".",
)
BY_HAND = Kind(
    "C006",
    "warning",
    "a task that was registered by hand is offered by no worker",
    "Task {subject!r} was registered by hand, and no worker that is known offers it{close}.",
    "Correct its name. If a worker without a manifest runs it, verify with `--live` while it runs.",
)
DEPRECATED = Kind(
    "C007",
    "warning",
    "a trigger sends a deprecated task",
    "{trigger} sends {task!r}, which is deprecated{reason}.",
    "Send what takes its place, before the worker drops it.",
)
MAPPING = Kind(
    "C008",
    "error",
    "a trigger's arguments do not fit the worker's parameters",
    "{trigger} sends {task!r}, and its arguments do not fit {worker}: {problem}.",
    "Correct the arguments there, or the parameters in the worker.",
)
UNFIT = Kind(
    "C009",
    "error",
    "messages in the outbox do not fit the worker's parameters",
    "In the outbox {messages} for {subject!r} with arguments that {worker} would refuse: {problem}",
    "Let the workers that take them finish first, or cancel them in the admin.",
)

# -- C01x: what registry and worker say of the same task -----------------------------------------------

BREAKING = Kind(
    "C011",
    "error",
    "the worker refuses calls that the registry accepts",
    "Task {subject!r} of {worker}: {change}.",
    "Take the change back in the worker; or change what sends the task, then " + SYNC + ".",
)
COMPATIBLE = Kind(
    "C012",
    "warning",
    "the worker's parameters have changed, and every call still fits",
    "Task {subject!r} of {worker}: {change}.",
    "When you like, " + SYNC + ".",
)
OUTDATED = Kind(
    "C013",
    "warning",
    "the registry holds another description, result, options or deprecation of a task than the worker",
    "Task {subject!r} has changed in {worker}: {aspects}.",
    "When you like, " + SYNC + ".",
)
UNMASKED = Kind(
    "C014",
    "error",
    "the registry shows an argument that the worker calls sensitive",
    "Task {subject!r}: {worker} calls {parameters} sensitive, and the registry does not mask that.",
    "Before the task is sent again, " + SYNC + ".",
)

UNUSABLE = Kind(
    "C015",
    "error",
    "a task definition cannot be used as it is stored",
    "Task {subject!r} cannot be sent. {problem}",
    "Correct it in the admin.",
)

PERIODIC = Kind(
    "C016", "error", "a periodic task sends a task that no worker offers", TRIGGER.sentence, TRIGGER.remedy
)
PERIODIC_DEPRECATED = Kind(
    "C017", "warning", "a periodic task sends a deprecated task", DEPRECATED.sentence, DEPRECATED.remedy
)
PERIODIC_MAPPING = Kind(
    "C018",
    "error",
    "a periodic task's arguments do not fit the worker's parameters",
    MAPPING.sentence,
    MAPPING.remedy,
)
#: What may be wrong with what names a task: it is not offered, it is deprecated, the arguments do not fit.
OF_TRIGGERS = TRIGGER, DEPRECATED, MAPPING
OF_PERIODIC_TASKS = PERIODIC, PERIODIC_DEPRECATED, PERIODIC_MAPPING

# -- C02x: routes --------------------------------------------------------------------------------------

SHADOWED = Kind(
    "C021",
    "error",
    "a route never decides: earlier ones take all that it matches",
    "Route {subject!r} ({kind}) never decides: {earlier} before it takes {tasks}.",
    "Move it up, or delete it.",
)
UNMATCHED = Kind(
    "C022",
    "error",
    "a route matches no registered task",
    "Route {subject!r} ({kind}) matches no registered task{close}.",
    "Correct its pattern, or delete it.",
)
NOWHERE = Kind(
    "C023",
    "error",
    "a registered task has no destination",
    "Task {subject!r} has no destination, so sending it is refused: {problem}",
    "Add a route, or mark a queue as the default one.",
)
BROKEN_ROUTE = Kind(
    "C024",
    "error",
    "a route cannot be used and is left out",
    "Route {subject!r} is left out: {problem}",
    "Correct or disable it in the admin.",
)

# -- C03x: queues --------------------------------------------------------------------------------------

UNCONSUMED = Kind(
    "C031",
    "error",
    "a queue has tasks and no consumer",
    "No worker consumes queue {subject!r}. What goes there would wait for ever: {what}.",
    "Start a worker (`manage.py dispatch worker-command {subject}`), let running ones take it (`manage.py dispatch "
    "queues apply`), or correct the route.",
)
STRANGER = Kind(
    "C032",
    "error",
    "a queue is consumed by a worker that does not know its tasks",
    "Queue {subject!r} is consumed by {worker}, which does not know {tasks}: it throws such messages away.",
    "Route these tasks to a queue of their own, or let that worker leave the queue.",
)
FOREIGN = Kind(
    "C033",
    "error",
    "a worker consumes a queue that is not in the registry",
    "Queue {subject!r} is consumed by {worker}, and is not in the registry{close}: nothing is ever sent there.",
    "Add the queue and a route to it; or, if the worker is wrong, " + EXPORT + ".",
)
UNROUTED = Kind(
    "C034",
    "error",
    "a worker consumes a queue to which nothing is routed",
    "Queue {subject!r} is consumed by {worker}, and no task, route or trigger leads there.",
    "Add a route, or let the worker leave it. If only code names it (`queue=…`): `--ignore C034:{subject}`.",
)
ARGUMENTS = Kind(
    "C035",
    "error",
    "registry and worker disagree on how a queue is declared",
    "Queue {subject!r}: {worker} declares it with {theirs}, the registry has {ours}.",
    "Correct the queue in the admin, or " + EXPORT + ".",
)
ON_BROKER = Kind(
    "C036",
    "error",
    "the broker holds a queue or an exchange otherwise than the registry",
    "Queue {subject!r} on broker {broker!r}: {problem}",
    "Correct either side, as the sentence says.",
)
REFUSED = Kind(
    "C037",
    "error",
    "the broker does not show a queue",
    "Queue {subject!r} cannot be looked at. {problem}",
    "Give the user of the broker's URL access to the queue.",
)

# -- C04x, C05x: workers and brokers -------------------------------------------------------------------

VERSIONS = Kind(
    "C041",
    "error",
    "workers of different versions run, or were given",
    "Worker {subject!r} is there in {count} versions: {versions}.",
    "Finish the deployment, or stop the old ones. During a rolling deployment: `--ignore C041`.",
)
CONTENTS = Kind(
    "C042",
    "error",
    "workers of one version offer different tasks",
    "Worker {subject!r} {version} is there with different tasks: {workers} differ in {tasks}.",
    "Deploy the same code everywhere, and raise the version with every change.",
)
SILENT = Kind(
    "C043",
    "error",
    "nothing is known of any worker",
    "No manifest was imported or given, and no running worker has told its own: there is nothing to compare with.",
    "Import one (`manage.py dispatch manifest sync FILE`), give one (`--manifest FILE`), or ask workers (`--live`).",
)
DOWN = Kind(
    "C051",
    "error",
    "a broker cannot be asked",
    "{problem}",
    "Start it, or correct its URL in the settings; what it would have told is missing here.",
)
NOBODY = Kind(
    "C052",
    "error",
    "no worker answers on a broker",
    "No worker of this registry answered on broker {subject!r} within {seconds:g} s, and tasks go to {queues} there.",
    "Start one (`manage.py dispatch worker-command`), or let it be remote-controlled (`worker_enable_remote_control`).",
)
WORDLESS = Kind(
    "C053",
    "warning",
    "a running worker cannot tell its manifest",
    "Worker {subject!r} {problem}: only its queues and the names of its tasks were compared.",
    "Install the manifest package in the worker: docs/howto/worker.md.",
)
GARBLED = Kind(
    "C054",
    "error",
    "a running worker's answer is no manifest",
    "Worker {subject!r} was asked for its manifest: {problem}",
    "Install the same version of the manifest package in all workers.",
)
EVICTS = Kind(
    "C055",
    "error",
    "a Redis broker throws queues away when its memory is full",
    "Broker {subject!r} has maxmemory-policy {policy}: when its memory is full it deletes whole queues, unseen.",
    "Set its maxmemory-policy to noeviction: then it refuses messages, and they wait in the outbox.",
)
LOSES = Kind(
    "C056",
    "warning",
    "a Redis broker may lose messages that it has taken",
    "Broker {subject!r} has {setting}: {window}.",
    "Set appendonly to yes and appendfsync to always; or accept the loss, and leave it out: `--ignore C056:{subject}`.",
)

# -- C06x: relay, collector and outbox ---------------------------------------------------------------

UNRELAYED = Kind(
    "C061",
    "warning",
    "messages are due, and no relay was seen",
    "{problem}",
    health.START_RELAY,
)
OVERDUE = Kind(
    "C062",
    "warning",
    "messages are due for too long",
    "{problem}",
    health.RELAY_MORE,
)
DEAD = Kind(
    "C063",
    "warning",
    "there are dead messages",
    "{problem}",
    health.LOOK_AT_DEAD,
)
UNCOLLECTED = Kind(
    "C064",
    "warning",
    "results are awaited, and no collector was seen",
    "{problem}",
    health.START_COLLECTOR,
)

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
