//! The jobs under way: a handful of futures in one task.

use super::Job;
use ::signals::Next;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// A job on its way to its end.
pub(super) type Asking<'g> = Pin<Box<dyn Future<Output = Next> + Send + 'g>>;

/// A job that is over.
pub(super) struct Over {
    /// Which.
    pub(super) job: Job,
    /// When it is due again.
    pub(super) next: Next,
}

/// What is under way, in no order.
#[derive(Default)]
pub(super) struct UnderWay<'g> {
    jobs: Vec<(Job, Asking<'g>)>,
}

impl<'g> UnderWay<'g> {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// One more.
    pub(super) fn push(&mut self, job: Job, asking: Asking<'g>) {
        self.jobs.push((job, asking));
    }

    /// The next that is over; pending for ever while there is none. Dropped before that it loses nothing.
    pub(super) async fn next(&mut self) -> Over {
        poll_fn(|context| {
            for (place, (_, asking)) in self.jobs.iter_mut().enumerate() {
                if let Poll::Ready(next) = asking.as_mut().poll(context) {
                    let (job, _) = self.jobs.swap_remove(place);
                    return Poll::Ready(Over { job, next });
                }
            }
            Poll::Pending
        })
        .await
    }
}
