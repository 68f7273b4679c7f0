"""Checks of topics, push subscriptions and dead letters."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from mlsys.cloud.messages import Use
from mlsys.doctor.check import CALL, Check, Outcome, failed, ok, skipped, warning
from mlsys.doctor.deployment import Deployment
from mlsys.plural import does, plural

# By the topic's kind: the route that its messages are pushed to
PUSHED = {"model-events": "/events/storage", "predictions": "/events/predictions"}
ACK_DEADLINE = 600  # seconds; a shorter one delivers a message again while it is worked on


def message_checks(at: Deployment) -> list[Check]:
    """Return the checks of the topics, and of what is pushed from them."""
    checks = [_Topics(at).check()]
    for kind, route in PUSHED.items():
        checks += _Subscription(at, kind, route).checks()
    return checks


class _Topics:
    def __init__(self, at: Deployment) -> None:
        self.at = at
        self.use = Use("Pub/Sub", "the topics of mlsys", ("pubsub.topics.get",))

    def check(self) -> Check:
        """Return the check."""
        return self.at.check("topics", self._exist, self.use)

    def _exist(self) -> Outcome:
        from google.api_core.exceptions import NotFound

        settings, env = self.at.clients.settings, self.at.env
        topics = [
            settings.model_events_topic(env),
            settings.predictions_topic(env),
            settings.events_topic(env),
        ]
        missing = []
        for topic in topics:
            try:
                self.at.clients.publisher.get_topic(topic=topic, timeout=CALL, retry=None)
            except NotFound:
                missing.append(topic)
        if missing:
            return failed(f"Missing: {', '.join(missing)}.", self.at.fix)
        return ok(f"{plural(len(topics), 'topic')} {does(len(topics), 'exists')}.")


class _Subscription:
    """The push subscription of a topic, and its dead letters: each has its topic's name."""

    def __init__(self, at: Deployment, kind: str, route: str) -> None:
        self.at, self.kind, self.route = at, kind, route
        self.project = at.clients.settings.project
        self.name = f"mlsys-{kind}-{at.env}"
        self.dead = f"{self.name}-dead-letter"

    def checks(self) -> list[Check]:
        """Return the checks."""
        use = Use("Pub/Sub", self.name, ("pubsub.subscriptions.get",))
        dead = Use("Pub/Sub", self.dead, ("pubsub.subscriptions.get", "pubsub.topics.get"))
        count = Use("Cloud Monitoring", self.dead, ("monitoring.timeSeries.list",))
        push, letters = f"push-{self.kind}", f"dead-letters-{self.kind}"
        waiting = f"waiting-{self.kind}"
        return [
            self.at.check(push, self._pushes, use, "topics"),
            self.at.check(letters, self._has_dead_letters, dead, "topics"),
            self.at.check(
                waiting,
                self._waiting,
                count,
                letters,
                on_cloud="The local stack keeps dead letters in its own memory",
            ),
        ]

    def _get(self, name: str) -> Any:
        path = f"projects/{self.project}/subscriptions/{name}"
        return self.at.clients.subscriber.get_subscription(
            subscription=path, timeout=CALL, retry=None
        )

    def _pushes(self) -> Outcome:
        """Check that messages arrive at the service, signed for it."""
        subscription = self._get(self.name)
        push = subscription.push_config
        token, base = push.oidc_token, push.push_endpoint.removesuffix(self.route)
        topic = f"projects/{self.project}/topics/{self.name}"
        account = f"mlsys-push-{self.at.env}@{self.project}.iam.gserviceaccount.com"
        faults = []
        if subscription.detached or subscription.topic != topic:
            faults.append(f"it is not attached to {topic}")
        if not push.push_endpoint:
            faults.append("it does not push")
        elif base == push.push_endpoint:
            faults.append(f"it pushes to {push.push_endpoint} instead of {self.route}")
        if subscription.ack_deadline_seconds < ACK_DEADLINE:
            faults.append(
                f"its deadline is {subscription.ack_deadline_seconds} s instead of {ACK_DEADLINE}"
            )
        if not self.at.local:
            if token.audience != base:
                faults.append(f"its audience is {token.audience or 'not set'} instead of {base}")
            if token.service_account_email != account:
                signs = token.service_account_email or "nobody"
                faults.append(f"{signs} signs its tokens instead of {account}")
        if faults:
            return failed(f"{self.name}: {'; '.join(faults)}.", self.at.fix)
        if _host(base) != _host(self.at.service.url):
            return warning(
                f"{self.name} pushes to {base}, and you call {self.at.service.url}.",
                f"Check that both are the same service, or {self.at.fix}",
            )
        return ok(f"{self.name} pushes to {push.push_endpoint}.")

    def _has_dead_letters(self) -> Outcome:
        """Check that a message that cannot be handled is kept."""
        from google.api_core.exceptions import NotFound

        topic = f"projects/{self.project}/topics/{self.dead}"
        try:
            policy = self._get(self.name).dead_letter_policy
        except NotFound:
            return skipped(f"{self.name} does not exist: see `push-{self.kind}`.")
        if policy.dead_letter_topic != topic:
            goes = policy.dead_letter_topic or "nowhere"
            return failed(
                f"Messages that {self.name} cannot deliver go {goes} instead of to {topic}.",
                self.at.fix,
            )
        try:
            self.at.clients.publisher.get_topic(topic=topic, timeout=CALL, retry=None)
            if not self.at.local:  # whose dead letters have no subscription
                self._get(self.dead)
        except NotFound:
            return failed(
                f"The topic or the subscription {self.dead} does not exist: dead letters are lost.",
                self.at.fix,
            )
        tries = policy.max_delivery_attempts
        return ok(f"After {tries} deliveries a message goes to {self.dead}.")

    def _waiting(self) -> Outcome:
        count = self.at.waiting(self.at.clients, self.dead)
        if count is None:
            return skipped(f"Cloud Monitoring has no figure for {self.dead} yet.")
        if count:
            return warning(
                f"{plural(count, 'message')} {does(count, 'waits')} in {self.dead}.",
                f"gcloud pubsub subscriptions pull {self.dead} --project={self.project} --limit=10",
            )
        return ok(f"No message waits in {self.dead}.")


def _host(url: str) -> str:
    return urlsplit(url).netloc
