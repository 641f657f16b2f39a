//! What waits to be published, in the order of publishing.

use std::collections::{HashSet, VecDeque};
use std::sync::PoisonError;

use tokio::sync::{Notify, oneshot};

use super::lost::{Loss, Lost, Missing, Untold};
use super::wire::{Body, Control, Presence, Unsent};
use super::{BackplaneError, Channel, Keep, MessageId, NodeId, Outgoing};
use crate::sync::{Mutex, MutexGuard};

/// What a message costs beside its bytes.
const PLACE: usize = 128;

/// The most that one call publishes, if it is not one message that has more.
const BATCH: (usize, usize) = (1024, 1024 * 1024);

/// This part of the bound may be taken beyond it, by what is urgent.
const RESERVE: usize = 16;

/// How often it is looked for more that waits, when the engine goes: whoever publishes without a pause must not hold up the
/// next attempt.
const ROUNDS: usize = 16;

/// Messages on their way to other nodes, bounded in bytes: those that wait, and those that are being published.
#[derive(Debug)]
pub(super) struct Outbox {
    node: NodeId,
    limit: usize,
    queue: Mutex<Queue>,
    changed: [Notify; 2],
}

/// Neither sort of messages waits for the other: an engine that cannot keep any more may still pass them on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Those that have no place.
    Plain,
    /// Those that the engine is to give one.
    Kept,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: [VecDeque<Item>; 2],
    /// Those that are being published included.
    bytes: usize,
    last: u64,
    /// The engine is away: what it is to order is ordered here.
    is_away: bool,
    /// It was, and has not yet ordered what members of this node have already.
    is_apart: bool,
    /// Which messages that are to be kept are being published: those from the first number to the last.
    under_way: (u64, u64),
    /// Those of them that members of this node have, from the engine.
    arrived: HashSet<u64>,
    lost: Lost,
}

/// A message, and who waits for its end.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) message: Outgoing,
    /// Members of this node have it.
    pub(super) is_delivered: bool,
    done: Option<oneshot::Sender<Result<(), BackplaneError>>>,
}

/// What became of a message that is to be kept.
#[derive(Debug)]
pub(super) enum Appended {
    /// The engine is asked for its place.
    Asked(oneshot::Receiver<Result<(), BackplaneError>>),
    /// The engine is away: the message waits for it, and is to be delivered on this node now.
    Away,
}

impl Sort {
    fn of(keep: Option<Keep>) -> Self {
        if keep.is_some() { Self::Kept } else { Self::Plain }
    }
}

impl Outbox {
    pub(super) fn new(node: NodeId, limit: usize) -> Self {
        Self { node, limit, queue: Mutex::default(), changed: Default::default() }
    }

    /// Queues a message that is not kept.
    pub(super) fn push(&self, channel: &Channel, frame: Unsent) -> Result<(), BackplaneError> {
        let mut queue = self.queue();
        self.tell_lost(&mut queue, channel);
        let missing = frame.missing;
        let pushed = self.push_item(&mut queue, channel, frame, None, None);
        if pushed.is_err() {
            queue.lost.count(channel, missing.into());
        }
        drop(queue);
        pushed
    }

    /// Queues a message that the engine is to keep.
    pub(super) fn append(&self, channel: &Channel, frame: Unsent, keep: Keep) -> Result<Appended, BackplaneError> {
        let mut queue = self.queue();
        let (done, asked) = oneshot::channel();
        let (done, appended) =
            if queue.is_away { (None, Appended::Away) } else { (Some(done), Appended::Asked(asked)) };
        self.tell_lost(&mut queue, channel);
        if let Err(error) = self.push_item(&mut queue, channel, frame, Some(keep), done) {
            if !queue.is_away {
                return Err(error);
            }
            // Members of this node get it all the same; the others are told of the gap.
            queue.lost.count(channel, keep.into());
        }
        drop(queue);
        Ok(appended)
    }

    /// Whether so many bytes more would be taken now; while the engine is away, all are.
    pub(super) fn check_room(&self, bytes: usize, messages: usize) -> Result<(), BackplaneError> {
        let queue = self.queue();
        let size = bytes.saturating_add(messages.saturating_mul(PLACE));
        let has_room = queue.is_away || queue.bytes.saturating_add(size) <= self.limit;
        has_room.then_some(()).ok_or(BackplaneError::OutboxFull { limit: self.limit })
    }

    fn push_item(
        &self,
        queue: &mut Queue,
        channel: &Channel,
        frame: Unsent,
        keep: Option<Keep>,
        done: Option<oneshot::Sender<Result<(), BackplaneError>>>,
    ) -> Result<(), BackplaneError> {
        let size = frame.len() + PLACE;
        let limit = if frame.is_urgent { self.limit.saturating_add(self.limit / RESERVE) } else { self.limit };
        if queue.bytes.saturating_add(size) > limit {
            return Err(BackplaneError::OutboxFull { limit: self.limit });
        }
        queue.bytes += size;
        queue.last += 1;
        let id = MessageId { node: self.node, number: queue.last };
        let message = Outgoing { channel: channel.clone(), payload: frame.numbered(id), id, keep };
        let is_delivered = keep.is_none() || done.is_none();
        let sort = Sort::of(keep);
        queue.waiting[sort as usize].push_back(Item { message, is_delivered, done });
        self.changed[sort as usize].notify_one();
        Ok(())
    }

    /// What is missing is told before what comes behind it.
    fn tell_lost(&self, queue: &mut Queue, channel: &Channel) {
        let Some(mut untold) = queue.lost.take(channel) else { return };
        if untold.missing.goodbye {
            let goodbye = Unsent::new(&Body::Presence(Presence::goodbye()));
            untold.missing.goodbye = self.push_item(queue, channel, goodbye, None, None).is_err();
        }
        if untold.missing.messages == Loss::Placeless && self.tell_missing(queue, channel, Loss::Placeless.into(), None)
        {
            untold.missing.messages = Loss::Nothing;
        }
        // In a place of its own, so that whoever comes back later finds it, too.
        if let Some(keep) = untold.keep
            && self.tell_missing(queue, channel, Loss::Kept.into(), Some(keep))
        {
            untold = Untold { keep: None, ..untold };
            untold.missing.messages = Loss::Nothing;
        }
        queue.lost.note(channel, untold);
    }

    fn tell_missing(&self, queue: &mut Queue, channel: &Channel, missing: Missing, keep: Option<Keep>) -> bool {
        let lost = Unsent::new(&Body::Control(Control::Lost(missing)));
        self.push_item(queue, channel, lost, keep, None).is_ok()
    }

    /// There is room again.
    fn tell_all_lost(&self, queue: &mut Queue) {
        for channel in queue.lost.channels() {
            self.tell_lost(queue, &channel);
        }
        let any = queue.lost.any;
        if any.is_something() && self.tell_missing(queue, &Channel::all_nodes(), any, None) {
            queue.lost.any = Missing::default();
        }
    }

    /// Waits until there is something of a sort, or may be.
    pub(super) async fn changed(&self, sort: Sort) {
        self.changed[sort as usize].notified().await;
    }

    /// The next messages of a sort; they count until they are [settled](Self::settle).
    pub(super) fn take(&self, sort: Sort) -> Vec<Item> {
        let mut queue = self.queue();
        if !queue.lost.is_empty() {
            self.tell_all_lost(&mut queue);
        }
        let mut bytes = 0;
        let waiting = &mut queue.waiting[sort as usize];
        let fits = waiting.iter().take(BATCH.0).take_while(|item| {
            bytes += item.message.payload.len();
            bytes <= BATCH.1
        });
        let count = fits.count().max(1).min(waiting.len());
        let taken: Vec<Item> = waiting.drain(..count).collect();
        if sort == Sort::Kept {
            let number = |item: Option<&Item>| item.map_or(0, |item| item.message.id.number);
            queue.under_way = (number(taken.first()), number(taken.last()));
            queue.arrived.clear();
            if queue.waiting[sort as usize].is_empty() {
                // Whatever comes from here on is behind these, and there is hope for these.
                queue.is_away = false;
            }
        }
        taken
    }

    /// It is not known what has become of these; they are the next ones.
    pub(super) fn put_back(&self, sort: Sort, items: &mut Vec<Item>) {
        let mut queue = self.queue();
        for item in items.drain(..).rev() {
            queue.waiting[sort as usize].push_front(item);
        }
    }

    /// A message is published, or will never be.
    pub(super) fn settle(&self, item: Item, result: Result<(), BackplaneError>) {
        self.queue().bytes -= item.message.payload.len() + PLACE;
        if let Some(done) = item.done {
            // Who has gone does not need to know.
            let _ = done.send(result);
        }
    }

    /// The engine is away, and what waits for its place is delivered on this node: those of the batch that is being
    /// published, then those behind it. Only when nothing is left, what is published from then on is delivered at once: a
    /// publisher that has not waited must not have its next message delivered before.
    pub(super) fn go_away(&self, batch: &mut [Item], mut deliver: impl FnMut(&Outgoing)) {
        for round in 0..ROUNDS {
            let mut queue = self.queue();
            queue.is_apart = true;
            let Queue { waiting, arrived, .. } = &mut *queue;
            let waiting = waiting[Sort::Kept as usize].iter_mut();
            let undelivered: Vec<_> = batch.iter_mut().chain(waiting).filter(|item| !item.is_delivered).collect();
            let is_last = round + 1 == ROUNDS || undelivered.is_empty();
            let mut done = Vec::new();
            for item in undelivered {
                item.is_delivered = true;
                let has_arrived = arrived.contains(&item.message.id.number);
                done.push((Some(item.message.clone()).filter(|_| !has_arrived), item.done.take()));
            }
            queue.is_away = is_last;
            drop(queue);
            for (message, asker) in done {
                message.as_ref().into_iter().for_each(&mut deliver);
                if let Some(asker) = asker {
                    // Who has gone does not need to know.
                    let _ = asker.send(Ok(()));
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// The engine has brought a message of this node to its members: it need not say any more that it has it.
    pub(super) fn arrived(&self, number: u64) {
        let mut queue = self.queue();
        let (first, last) = queue.under_way;
        if (first..=last).contains(&number) {
            queue.arrived.insert(number);
        }
    }

    /// A batch is published. True when nothing waits that was ordered on this node: from here on the engine orders all.
    pub(super) fn come_back(&self) -> bool {
        let mut queue = self.queue();
        if queue.waiting[Sort::Kept as usize].is_empty() {
            queue.is_away = false;
        }
        queue.is_apart = queue.is_away;
        !queue.is_away
    }

    /// Whether members of this node have messages that the engine has not ordered yet.
    pub(super) fn is_apart(&self) -> bool {
        self.queue().is_apart
    }

    /// The engine will never take a message that was to reach others.
    pub(super) fn refused(&self, item: &Item) {
        let untold = match item.message.keep {
            // Its publisher is told, and nobody has it.
            Some(_) if !item.is_delivered => return,
            Some(keep) => keep.into(),
            None => Missing::from(Loss::Placeless).into(),
        };
        self.queue().lost.note(&item.message.channel, untold);
    }

    /// A mark that something before it is missing, to be published before what waits.
    pub(super) fn mark(&self, channel: &Channel, keep: Keep) -> Item {
        let frame = Unsent::new(&Body::Control(Control::Lost(Loss::Kept.into())));
        let mut queue = self.queue();
        // It is settled as all others are; where it finds no room, nothing else does before it is.
        queue.bytes += frame.len() + PLACE;
        queue.last += 1;
        let id = MessageId { node: self.node, number: queue.last };
        drop(queue);
        let message = Outgoing { channel: channel.clone(), payload: frame.numbered(id), id, keep: Some(keep) };
        Item { message, is_delivered: true, done: None }
    }

    /// Another number for a message that a later one has overtaken, and that others would take for a double.
    pub(super) fn renumber(&self, item: &mut Item) {
        let mut queue = self.queue();
        queue.last += 1;
        item.message.id.number = queue.last;
        drop(queue);
        item.message.payload = Unsent::renumbered(&item.message.payload, item.message.id.number);
    }

    /// Messages that were not taken because there was no room.
    pub(super) fn lost(&self) -> u64 {
        self.queue().lost.messages
    }

    /// What waits or is being published, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.queue().bytes
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Posted;
    use super::*;

    const NODE: NodeId = NodeId::new(1);

    fn here() -> Unsent {
        Unsent::new(&Body::Control(Control::Here))
    }

    fn message() -> Unsent {
        Unsent::new(&Body::Group(Posted::new("hello".into())))
    }

    fn keep() -> Keep {
        Keep { messages: 1, bytes: 1, age: std::time::Duration::from_secs(1) }
    }

    fn numbers(items: &[Item]) -> Vec<u64> {
        items.iter().map(|item| item.message.id.number).collect()
    }

    #[test]
    fn messages_leave_in_order_and_their_bytes_with_them() {
        let outbox = Outbox::new(NODE, 10_000);
        for _ in 0..3 {
            outbox.push(&Channel::group("a"), here()).unwrap();
        }
        let items = outbox.take(Sort::Plain);
        assert_eq!(numbers(&items), [1, 2, 3]);
        assert!(outbox.bytes() > 3 * PLACE);
        for item in items {
            outbox.settle(item, Ok(()));
        }
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn who_has_a_gap_is_told_before_what_comes_behind_it() {
        let room = here().len().max(message().len()) + PLACE;
        let outbox = Outbox::new(NODE, 2 * room);
        let (full, other) = (Channel::group("full"), Channel::group("other"));
        outbox.push(&other, message()).unwrap();
        outbox.push(&full, message()).unwrap();
        assert!(matches!(outbox.push(&full, message()), Err(BackplaneError::OutboxFull { .. })));
        assert_eq!(outbox.lost(), 1);
        for item in outbox.take(Sort::Plain) {
            outbox.settle(item, Ok(()));
        }
        let told = outbox.take(Sort::Plain);
        assert_eq!(told.len(), 1, "the gap is told without another message, too");
        assert_eq!(told[0].message.channel, full);
    }

    #[test]
    fn what_is_said_again_anyway_is_counted_and_no_gap() {
        let outbox = Outbox::new(NODE, 1);
        assert!(outbox.push(&Channel::all_nodes(), here()).is_err());
        assert_eq!(outbox.lost(), 1);
        assert!(outbox.take(Sort::Plain).is_empty());
        assert!(outbox.queue().lost.is_empty());
    }

    #[test]
    fn what_waits_for_an_engine_that_goes_is_delivered_here_and_published_later() {
        let outbox = Outbox::new(NODE, 10_000);
        let group = Channel::group("a");
        let Ok(Appended::Asked(mut first)) = outbox.append(&group, here(), keep()) else { panic!("not asked") };
        let mut batch = outbox.take(Sort::Kept);
        let Ok(Appended::Asked(_)) = outbox.append(&group, here(), keep()) else { panic!("not asked") };
        let mut delivered = Vec::new();
        outbox.go_away(&mut batch, |message| delivered.push(message.id.number));
        assert_eq!(delivered, [1, 2]);
        assert!(matches!(first.try_recv(), Ok(Ok(()))));
        assert!(matches!(outbox.append(&group, here(), keep()), Ok(Appended::Away)));
        assert!(!outbox.come_back(), "two are still to be ordered");
        assert_eq!(numbers(&outbox.take(Sort::Kept)), [2, 3]);
        assert!(outbox.come_back());
        assert!(matches!(outbox.append(&group, here(), keep()), Ok(Appended::Asked(_))));
    }

    #[test]
    fn who_does_not_wait_is_not_overtaken_by_its_own_next_message_when_the_engine_goes() {
        let outbox = Outbox::new(NODE, 10_000);
        let group = Channel::group("a");
        for _ in 0..2 {
            // Its publisher has gone on.
            drop(outbox.append(&group, message(), keep()));
        }
        let mut delivered = Vec::new();
        outbox.go_away(&mut outbox.take(Sort::Kept), |message| {
            if delivered.is_empty() {
                assert!(matches!(outbox.append(&group, self::message(), keep()), Ok(Appended::Asked(_))));
            }
            delivered.push(message.id.number);
        });
        assert_eq!(delivered, [1, 2, 3]);
        assert!(matches!(outbox.append(&group, message(), keep()), Ok(Appended::Away)));
    }

    #[test]
    fn neither_sort_of_messages_waits_for_the_other() {
        let outbox = Outbox::new(NODE, 10_000);
        let group = Channel::group("a");
        let _asked = outbox.append(&group, message(), keep());
        outbox.push(&group, message()).unwrap();
        assert_eq!(numbers(&outbox.take(Sort::Plain)), [2]);
        assert_eq!(numbers(&outbox.take(Sort::Kept)), [1]);
    }

    #[test]
    fn messages_that_would_have_been_kept_leave_a_mark_that_is() {
        let outbox = Outbox::new(NODE, 2 * (message().len() + PLACE));
        let group = Channel::group("a");
        let _asked = outbox.append(&group, message(), keep());
        let mut batch = outbox.take(Sort::Kept);
        outbox.go_away(&mut batch, |_| {});
        for _ in 0..3 {
            assert!(matches!(outbox.append(&group, message(), keep()), Ok(Appended::Away)));
        }
        assert_eq!(outbox.lost(), 2);
        batch.extend(outbox.take(Sort::Kept));
        for item in batch {
            outbox.settle(item, Ok(()));
        }
        let told = outbox.take(Sort::Kept);
        assert_eq!(told.len(), 1);
        assert!(told[0].message.keep.is_some());
        assert!(outbox.take(Sort::Plain).is_empty(), "it is told once");
    }
}
