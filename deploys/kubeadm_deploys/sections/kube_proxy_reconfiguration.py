"""Kubernetes documentation, "Reconfiguring a kubeadm cluster": give a live cluster's kube-proxies their configuration.

The ConfigMap kube-proxy gets the changed fields, and Kubernetes replaces the pods one by one. The rules of a node stay while
its pod is away.
"""

import base64
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyinfra import host, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys.cluster import document_fields
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members, ask_settings
from kubeadm_deploys.cluster.reconfiguring import (
    Stopped,
    begun,
    in_unit,
    leader_of,
    record,
    validate,
    waits_for_others,
)
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.templates import yaml_text
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.remote import direct

_SECONDS = 120
"""How long each pod may take to be replaced."""

UNFINISHED = "kubeadm-deploys/unfinished"
"""Annotation of the ConfigMap while its pods are replaced.

The record alone does not show whether anything was changed: a run may be killed between the record and the change.
"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What kube-proxy is to have: the ``values`` that change by path, and the whole new ``configuration``.

    ``found`` is the cluster's present KubeProxyConfiguration, ``fields`` are the values of the options by path.
    """

    values: Mapping[str, object]
    configuration: Mapping[str, Any]
    found: Mapping[str, Any]
    fields: Mapping[str, object]
    recorded: RecordedConfiguration

    @property
    def edits(self) -> list[str]:
        """The values about to be lost that somebody has set since this package set others."""
        pending = self.recorded.kube_proxy_pending
        # Of a field that this package has not set, the options say what it becomes.
        names = self.values if pending else self.values.keys() & self.recorded.kube_proxy.keys()
        values = {name: self.values[name] for name in sorted(names)}
        known = pending or (document_fields.with_values({}, self.recorded.kube_proxy),)
        return document_fields.edits(self.found, values, *known)


def wanted_of(
    options: ClusterOptions, *, found: Mapping[str, Any], recorded: RecordedConfiguration
) -> Wanted:
    """Compare the options with the cluster."""
    wanted = options.kube_proxy_configuration
    names = document_fields.names_of(wanted)
    values = document_fields.changed(found, wanted=wanted, claimed=recorded.kube_proxy.keys())
    return Wanted(
        values=values,
        configuration=document_fields.with_values(found, values),
        found=found,
        fields={name: document_fields.value_of(wanted, name) for name in sorted(names)},
        recorded=recorded,
    )


@operation()
@fails_clearly
def kube_proxy_reconfigured(
    *, options: ClusterOptions, topology: Topology, discard_edits: bool
) -> Generator[FunctionCommand, None, None]:
    """Give the kube-proxies of a live cluster the fields of ``kube_proxy_configuration``, one node after the other.

    + options: of the cluster
    + topology: the cluster; its leader acts for all nodes
    + discard_edits: whether values may be lost that somebody has set in the ConfigMap
    """
    api_leader = ask_leader(host.state, topology)
    if not acts_for_cluster(host, api_leader):
        host.noop("runs on another host")
        return
    settings = ask_settings(host.state, topology) if api_leader.api_answers else None
    members = ask_members(host.state, topology) if settings else None
    if not settings or settings.configuration is None or members is None:
        host.noop("there is no cluster yet, or no API server answers")
        return
    if settings.kube_proxy is None:
        host.noop("the cluster has no kube-proxy")
        return
    recorded = settings.record.configuration or RecordedConfiguration()
    wanted = wanted_of(options, found=settings.kube_proxy, recorded=recorded)
    if not wanted.values and not recorded.kube_proxy_pending:
        if wanted.fields == recorded.kube_proxy:
            host.noop("kube-proxy has the configuration of the options")
        else:
            yield calling(_record_fields, topology, wanted.fields)
        return
    changes = some([f"kube_proxy_configuration {name}" for name in wanted.values] or ["an unfinished change"])
    nodes = [node for node in topology.nodes if node.name in members.nodes]
    if waits_for_others(host.state, nodes, changes=changes):
        host.noop("some nodes are not part of this run")
        return
    if host.state.is_executing:
        logger.info(f"--> Changing kube-proxy, one node after the other: {changes}")
    yield calling(
        _reconfigure, topology, wanted, settings.configuration, settings.kube_proxy_text, discard_edits
    )


def _reconfigure(
    state: State,
    host: Host,
    topology: Topology,
    wanted: Wanted,
    cluster: Mapping[str, Any],
    text: str,
    discard_edits: bool,
) -> bool:
    leader = leader_of(state, topology)
    try:
        # A change that an earlier run has begun there, and that survived that run, may still go on.
        wait_for_kubeadm(leader)
        if wanted.edits and not discard_edits:
            raise Stopped(
                f"the ConfigMap kube-proxy has what neither the options nor earlier runs have set: {some(wanted.edits)}; "
                "it would be lost: add it to kube_proxy_configuration, or run with --data discard_edits=true; nothing was "
                "changed"
            )
        validate(
            topology,
            leader,
            option="kube_proxy_configuration",
            cluster=cluster,
            configuration=wanted.configuration,
        )
        # First, so that a run that is killed from here on knows what the ConfigMap may have.
        pending = begun(begun(wanted.recorded.kube_proxy_pending, wanted.found), wanted.configuration)
        fields = {**wanted.recorded.kube_proxy, **wanted.fields}
        if not record(
            state,
            host,
            topology,
            lambda old: replace(old, kube_proxy=fields, kube_proxy_pending=pending),
        ):
            return False
        new = yaml_text(dict(wanted.configuration)) if wanted.values else text
        rolled, output = direct.run(
            leader, roll_command(text, new), seconds=_SECONDS * (3 + len(topology.nodes))
        )
        if not rolled:
            if not wanted.recorded.kube_proxy_pending and is_as_before(output.stderr):
                _record_fields(state, host, topology, wanted.recorded.kube_proxy)
            raise Stopped(
                f"kube-proxy was not changed: {output.stderr}; correct kube_proxy_configuration, or take the change "
                "back, and run again"
            )
    except Stopped as problem:
        host.log(str(problem))
        return False
    return _record_fields(state, host, topology, wanted.fields)


def _record_fields(state: State, host: Host, topology: Topology, fields: Mapping[str, object]) -> bool:
    return record(state, host, topology, lambda old: replace(old, kube_proxy=fields, kube_proxy_pending=()))


def roll_command(old: str, new: str) -> StringCommand:
    """Return the command that exchanges kube-proxy's configuration and its pods.

    All its pods must run before, unless an earlier run was cut off while it exchanged them.
    """
    return in_unit("roll-kube-proxy", str(_SECONDS), UNFINISHED, stdin=roll_input(old, new))


def roll_input(old: str, new: str) -> str:
    """Return what the script of ``roll_command`` reads."""
    metadata = {"annotations": {UNFINISHED: "true"}}
    patches = [json.dumps({"metadata": metadata, "data": {"config.conf": each}}) for each in (old, new)]
    lines = [base64.b64encode(part.encode()).decode() for part in (old, *patches)]
    return "\n".join([*lines, "end"]) + "\n"


def is_as_before(errors: str) -> bool:
    """Return whether the command of ``roll_command`` has left or put back everything, by what it printed last."""
    return errors.rstrip().endswith(("; nothing was changed", "and kube-proxy runs on every node again"))


@deploy("Kube-proxy reconfiguration")
def reconfigure_kube_proxy(
    *, options: ClusterOptions, topology: Topology, discard_edits: bool = False
) -> None:
    """Give the kube-proxies of a live cluster the ``kube_proxy_configuration`` of the options.

    Call it after ``reconfigure_kubelets``. One pod after the other is replaced. If one does not run with the new
    configuration, the old one is put back and the run ends.

    ``discard_edits`` allows that values are lost that somebody has set in the ConfigMap kube-proxy.
    """
    kube_proxy_reconfigured(
        name="Reconfigure kube-proxy", options=options, topology=topology, discard_edits=discard_edits
    )
