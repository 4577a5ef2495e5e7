"""Messages for a run that does not get its lock, or loses it. Times are in the operator's local time."""

from datetime import datetime, timedelta

from kubeadm_deploys.run.run_lock import LEASE, Held, Voters, Votes


def refusal(held: Held, *, now: datetime) -> str:
    """Return why a run must not start while another holds the lock. ``now`` is the operator's local time."""
    return (
        f"{_runs(held, now=now)}; no changes were made; wait until it ends; if it crashed, its lock expires at "
        f"{now + timedelta(seconds=held.remaining):%H:%M:%S} (in {held.remaining} s)"
    )


def no_majority(voters: Voters, votes: Votes) -> str:
    """Return why a run must not start without the lock of a majority of the control planes."""
    granting = voters.count - len(voters.problems(votes))
    return (
        f"a run needs the lock of {voters.needed} of {voters.count} control planes and got it from {granting}; "
        f"{'; '.join(voters.problems(votes))}; no changes were made; start the machines that are down, then "
        "run again; remove one that is lost for good with deploys/remove_node.py --data node=NAME --data force=true; if a "
        "majority is lost for good, restore the cluster from a backup with deploys/restore.py"
    )


def without_majority(voters: Voters, votes: Votes) -> str:
    """Return the warning for a run that only has the lock of the control planes that can be reached."""
    return (
        f"this run continues without the lock of {voters.needed} of {voters.count} control planes "
        f"({'; '.join(voters.problems(votes))}); make sure that no other run changes the cluster"
    )


def loss(held: Held, *, now: datetime) -> str:
    """Return why a run must stop after another one has taken its lock, for example during a suspend."""
    return (
        f"{_runs(held, now=now)}, and this run has lost its lock; it stops here; run it again when the other "
        "run has ended"
    )


def lapse(seconds: int) -> str:
    """Return why a run must stop whose lock expired before it was renewed, for example during a suspend."""
    return (
        f"this run has not renewed its lock for {seconds} s, and a lock lasts {LEASE} s, so another run may "
        "have changed the cluster; this run stops here; run it again"
    )


def expiry(voters: Voters, votes: Votes) -> str:
    """Return why a run must stop that could not renew its lock in time."""
    return (
        f"this run could not renew its lock on {voters.needed} of {voters.count} control planes "
        f"({'; '.join(voters.problems(votes))}), so another run may start; this run stops here; "
        "run it again when they answer"
    )


def _runs(held: Held, *, now: datetime) -> str:
    since = now - timedelta(seconds=held.age)
    return (
        f"{held.holder.who} has been running {held.holder.what} on this cluster since {since:%Y-%m-%d %H:%M:%S} "
        f"({_duration(held.age)})"
    )


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
