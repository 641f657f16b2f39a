//! Log lines that peers can cause at will: one for each cause and second, however often it happens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// How long occurrences of one cause are added up.
const WINDOW: Duration = Duration::from_secs(1);

/// Sums of an app's log lines, by cause. The first occurrence is logged at once; those that follow within a second are one
/// line at its end, with their number and one of them as an example.
#[derive(Clone, Default)]
pub(crate) struct LogSums(Arc<Mutex<BTreeMap<&'static str, Window>>>);

/// The occurrences since a line was logged.
struct Window {
    began: Instant,
    count: u64,
    /// The first of them.
    example: Option<Line>,
}

impl Window {
    /// Whether it goes on: for as long as it may, and until a task that is about to end it has done so.
    fn is_open(&self, now: Instant) -> bool {
        let most = if self.example.is_some() { WINDOW * 2 } else { WINDOW };
        now.duration_since(self.began) < most
    }
}

/// Logs a line for so many occurrences.
type Line = Box<dyn FnOnce(u64) + Send>;

impl LogSums {
    /// One more. `line` makes what is logged about it, with the number of those it stands for; it is called for few of them.
    pub(crate) fn add<L>(&self, cause: &'static str, line: impl FnOnce() -> L)
    where
        L: FnOnce(u64) + Send + 'static,
    {
        let now = Instant::now();
        let mut windows = self.lock();
        match windows.get_mut(cause) {
            Some(window) if window.is_open(now) => {
                window.count += 1;
                if window.example.is_none() {
                    window.example = Some(Box::new(line()));
                    drop(windows);
                    self.end_later(cause);
                }
            }
            // Also where the runtime is gone that was to end the window before.
            _ => {
                let before = windows.insert(cause, Window { began: now, count: 0, example: None });
                drop(windows);
                line()(1 + before.map_or(0, |window| window.count));
            }
        }
    }

    fn end_later(&self, cause: &'static str) {
        let Ok(runtime) = Handle::try_current() else { return };
        let sums = self.clone();
        runtime.spawn(async move {
            sleep(WINDOW).await;
            sums.end(cause);
        });
    }

    /// Logs what came within the window, and begins the next one, so that a flood has one line in each second.
    fn end(&self, cause: &'static str) {
        let mut windows = self.lock();
        let Some(window) = windows.get_mut(cause) else { return };
        let Some(example) = window.example.take() else { return };
        let count = std::mem::take(&mut window.count);
        window.began = Instant::now();
        drop(windows);
        example(count);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LogSums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of the lines so far.
    type Lines = Arc<Mutex<Vec<u64>>>;

    fn add(sums: &LogSums, cause: &'static str, lines: &Lines) {
        sums.add(cause, || {
            let lines = Arc::clone(lines);
            move |count| lines.lock().unwrap().push(count)
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_has_one_line_in_each_second_and_none_is_lost() {
        let (sums, lines) = (LogSums::default(), Lines::default());
        for _ in 0..3_000 {
            add(&sums, "flood", &lines);
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_secs(3)).await;
        let logged = lines.lock().unwrap().clone();
        assert_eq!(logged.iter().sum::<u64>(), 3_000, "{logged:?}");
        assert!((3..=5).contains(&logged.len()), "{logged:?}");
        assert_eq!(logged[0], 1);
        // After silence the next one is logged at once again.
        add(&sums, "flood", &lines);
        assert_eq!(lines.lock().unwrap().last(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn causes_have_lines_of_their_own() {
        let (sums, lines) = (LogSums::default(), Lines::default());
        add(&sums, "one", &lines);
        add(&sums, "other", &lines);
        assert_eq!(*lines.lock().unwrap(), [1, 1]);
    }

    #[test]
    fn without_a_runtime_the_next_line_has_those_before() {
        let (sums, lines) = (LogSums::default(), Lines::default());
        for _ in 0..3 {
            add(&sums, "one", &lines);
        }
        sums.lock().get_mut("one").unwrap().began -= WINDOW * 2;
        add(&sums, "one", &lines);
        assert_eq!(*lines.lock().unwrap(), [1, 3]);
    }
}
