//! Publishing what waits, however often that has to be tried.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::node::Node;
use super::outbox::{Item, Outbox, Sort};
use super::run::PAUSE;
use super::status::{Way, count};
use super::wire::Unsent;
use super::{BackplaneError, Place};

/// What an engine says of each message.
type Results = Vec<Result<Option<Place>, BackplaneError>>;

/// A batch that is being published. What is left of it when the node ends is published with the rest.
struct UnderWay<'a> {
    outbox: &'a Outbox,
    sort: Sort,
    items: Vec<Item>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.outbox.put_back(self.sort, &mut self.items);
    }
}

impl Node {
    /// Publishes messages of one sort; those of the other do not wait for them.
    pub(super) async fn publish_all(self: &Arc<Self>, sort: Sort) {
        loop {
            let items = self.outbox.take(sort);
            if items.is_empty() {
                self.outbox.changed(sort).await;
                continue;
            }
            self.publish_batch(sort, items).await;
        }
    }

    /// Publishes what is left, once.
    pub(super) async fn publish_rest(&self) {
        loop {
            let items: Vec<_> = [Sort::Plain, Sort::Kept].into_iter().flat_map(|sort| self.outbox.take(sort)).collect();
            if items.is_empty() {
                return;
            }
            let messages: Vec<_> = items.iter().map(|item| item.message.clone()).collect();
            drop(self.backplane.publish(&messages).await);
            for item in items {
                self.outbox.settle(item, Ok(()));
            }
        }
    }

    async fn publish_batch(self: &Arc<Self>, sort: Sort, items: Vec<Item>) {
        let way = if sort == Sort::Kept { Way::Keeping } else { Way::Publishing };
        let mut batch = UnderWay { outbox: &self.outbox, sort, items };
        let items = &mut batch.items;
        let mut pause = PAUSE.0;
        let mut was_away = self.is_away(way);
        loop {
            let messages: Vec<_> = items.iter().map(|item| item.message.clone()).collect();
            let published = timeout(self.config.timeout, self.backplane.publish(&messages)).await;
            let why = self.settle(items, published.ok());
            let Some(why) = why else { break };
            was_away = true;
            self.went_away(way, &why);
            if sort == Sort::Kept {
                self.outbox.go_away(items, |message| self.deliver_here(message));
            }
            sleep(pause.mul_f64(rand::rng().random_range(0.5..1.5))).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        if was_away {
            match sort {
                Sort::Plain => {
                    self.came_back(way);
                    self.say_here();
                }
                Sort::Kept if self.outbox.come_back() => {
                    self.came_back(way);
                    self.sync_all();
                }
                // There is more that was ordered here.
                Sort::Kept => {}
            }
        }
    }

    /// Lets go of what was published or refused; says why the rest was not.
    fn settle(self: &Arc<Self>, items: &mut Vec<Item>, results: Option<Results>) -> Option<String> {
        let Some(results) = results else {
            return Some(format!("no answer within {:.1} s", self.config.timeout.as_secs_f32()));
        };
        let mut why = None;
        let mut results = results.into_iter();
        let mut left = Vec::new();
        for item in items.drain(..) {
            match results.next() {
                Some(Ok(place)) => {
                    count(&self.status.published);
                    match (place, item.message.keep) {
                        (Some(place), _) => {
                            self.overtaken_in_its_stream(&mut left, &item);
                            self.deliver_own(&item.message, place);
                        }
                        (None, Some(_)) => self.overtaken_in_its_stream(&mut left, &item),
                        (None, None) => self.overtaken(&mut left, &item),
                    }
                    self.outbox.settle(item, Ok(()));
                }
                Some(Err(BackplaneError::Unavailable(error))) => {
                    why.get_or_insert_with(|| error.to_string());
                    left.push(item);
                }
                Some(Err(error)) => self.refused(item, error),
                None => {
                    why.get_or_insert_with(|| "it has not answered for all messages".to_owned());
                    left.push(item);
                }
            }
        }
        *items = left;
        why
    }

    /// A message without a place has arrived before some that were to come before it, and others would take those for doubles.
    fn overtaken(&self, left: &mut [Item], by: &Item) {
        let is_placeless = |item: &Item| item.message.keep.is_none() && item.message.channel == by.message.channel;
        for item in left.iter_mut().filter(|item| is_placeless(item) && item.message.id < by.message.id) {
            if Unsent::is_to_group(&item.message.payload) {
                // Behind the other it would be out of order: a gap is told.
                self.outbox.refused(item);
            } else if !Unsent::is_presence(&item.message.payload) {
                self.outbox.renumber(item);
            } else if let Some(group) = self.channels.group(by.message.channel.as_str()) {
                group.tell_again();
            }
        }
    }

    /// A message has its place, and the engine may have none yet for one that was to come before it, or takes it for a double
    /// from now on: in either case whoever reads on is told.
    fn overtaken_in_its_stream(&self, left: &mut Vec<Item>, by: &Item) {
        let Some(keep) = by.message.keep else { return };
        let of_channel = |item: &Item| item.message.channel == by.message.channel;
        if let Some(at) = left.iter().position(of_channel)
            && !Unsent::is_control(&left[at].message.payload)
        {
            left.insert(at, self.outbox.mark(&by.message.channel, keep));
        }
    }

    fn refused(&self, item: Item, error: BackplaneError) {
        // Once: there may be many, and they are counted.
        if self.status.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(channel = %item.message.channel, %error, "a message to other nodes was refused");
        }
        // What is said of a loss may be refused as well; that is no loss of its own.
        if Unsent::is_to_group(&item.message.payload) {
            self.outbox.refused(&item);
        }
        self.outbox.settle(item, Err(error));
    }
}
