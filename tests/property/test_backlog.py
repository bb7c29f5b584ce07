"""The backlog against a plain list: every target gets every transaction once, in order, whatever the order of calls."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from walsync.backlog.backlog import Backlog, Limits
from walsync.lsn import LSN
from walsync.relation import Relation, ReplicaIdentity
from walsync.transaction.change import Insert, Transaction

RELATION = Relation(1, "public", "t", ReplicaIdentity.DEFAULT, ())
NAMES = ("a", "b")


class BacklogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(10_000, LSN(10))
        self.read: list[Transaction] = []
        self.got: dict[str, list[int]] = {name: [] for name in NAMES}
        self.position = dict.fromkeys(NAMES, 10)
        self.held: dict[str, list[Transaction]] = {}
        for name in NAMES:
            assert self.backlog.attach(name, LSN(10))

    @rule(gap=st.integers(0, 5), changes=st.integers(1, 4), size=st.integers(1, 3000))
    def read_a_transaction(self, gap: int, changes: int, size: int) -> None:
        commit = LSN(self.backlog.end + gap)
        transaction = Transaction(1, commit, LSN(commit + 3), 0, (Insert(RELATION, b"", 0),) * changes, size)
        self.backlog.append(transaction)
        self.read.append(transaction)

    @rule(gap=st.integers(0, 20))
    def read_a_keepalive(self, gap: int) -> None:
        self.backlog.append(Transaction.keepalive(LSN(self.backlog.end + gap), 0))

    @rule(back=st.integers(1, 3))
    def read_something_again_after_a_reconnect(self, back: int) -> None:
        for transaction in self.read[-back:]:
            self.backlog.append(transaction)

    @rule(name=st.sampled_from(NAMES), limit=st.integers(1, 3), size=st.integers(1, 5000))
    def take(self, name: str, limit: int, size: int) -> None:
        if name not in self.held:
            taken = list(self.backlog.take(name, Limits(limit, 100, size)))
            assert bool(taken) == self.backlog.has_more(name)
            with_changes = [entry for entry in taken if entry.changes]
            assert len(with_changes) <= limit
            assert len(with_changes) <= 1 or sum(entry.size_bytes for entry in with_changes) <= size
            if taken:
                self.held[name] = taken

    @rule(name=st.sampled_from(NAMES))
    def finish(self, name: str) -> None:
        for entry in self.held.pop(name, []):
            self.position[name] = entry.end_lsn
            if entry.changes:
                self.got[name].append(entry.commit_lsn)
        self.backlog.advance(name)

    @rule(name=st.sampled_from(NAMES))
    def lose_the_target_and_attach_again(self, name: str) -> None:
        self.held.pop(name, None)
        assert self.backlog.attach(name, LSN(self.position[name]))

    @rule()
    def let_go_of_who_is_far_behind(self) -> None:
        before = {name: self.position[name] for name in NAMES if self.backlog.follows(name)}
        laggards = self.backlog.laggards()
        assert set(laggards) < set(NAMES)  # never of all of them
        for name in laggards:
            assert before[name] == min(before.values())
            self.backlog.detach(name)
            self.held.pop(name, None)
        for name in laggards:
            if not self.backlog.attach(name, LSN(self.position[name])):
                # It catches up elsewhere, to here.
                missed = [one for one in self.read if self.position[name] <= one.commit_lsn < self.backlog.start]
                self.got[name] += [one.commit_lsn for one in missed]
                self.position[name] = self.backlog.start
                assert self.backlog.attach(name, self.backlog.start)

    @precondition(lambda self: self.backlog.start > 10)
    @rule()
    def a_position_below_the_start_is_refused(self) -> None:
        assert not self.backlog.attach("late", LSN(self.backlog.start - 1))

    @invariant()
    def everybody_got_a_prefix_of_what_was_read(self) -> None:
        commits = [transaction.commit_lsn for transaction in self.read]
        for name in NAMES:
            assert self.got[name] == commits[: len(self.got[name])]

    @invariant()
    def memory_is_counted_and_freed(self) -> None:
        backlog = self.backlog
        assert backlog.start <= backlog.end
        assert (backlog.size_bytes == 0) == (len(backlog) == 0)
        if all(not backlog.has_more(name) for name in NAMES) and not self.held:
            assert len(backlog) == 0


TestBacklog = BacklogMachine.TestCase
