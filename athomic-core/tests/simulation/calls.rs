//! The way between an instance and a store.
//!
//! A call is on its way by itself: whoever made it may have gone, and it still arrives.

use std::sync::Arc;
use std::time::Duration;

use athomic_core::store::StoreError;
use athomic_core::store::ordering::Each;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::event::Instance;
use crate::fate::{Effect, Fate, Point};
use crate::world::World;

/// How late a call may be of which nothing was heard.
const LATE: u64 = 3_000;

/// Which elements of a call meet its fate; the others are served.
#[derive(Clone, Copy)]
struct Struck(u64);

impl Struck {
    fn hits(self, part: u64) -> bool {
        self.0 == 2 || part % 2 == self.0
    }
}

/// Make a call of some elements as the seed wants it; elements of the same `part` share its fate.
pub(crate) async fn call<E, T>(
    world: &Arc<World>,
    instance: Instance,
    point: Point,
    elements: Vec<E>,
    part: impl Fn(&E) -> u64 + Send + Sync + 'static,
    apply: impl Fn(&[E]) -> Each<T> + Send + Sync + 'static,
) -> Each<T>
where
    E: Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    world.live(instance).await;
    let fate = world.fate(instance, point);
    let (struck, late) = world.draw(|chance| (Struck(chance.below(3)), chance.millis(LATE)));
    let (answer, answered) = oneshot::channel();
    let travel = Travel {
        world: Arc::clone(world),
        instance,
        fate,
        late,
    };
    let hits = move |element: &E| struck.hits(part(element));
    tokio::spawn(async move { travel.make(elements, hits, apply, answer).await });
    match answered.await {
        Ok(answers) => answers,
        Err(_) => std::future::pending().await,
    }
}

/// A call on its way.
struct Travel {
    world: Arc<World>,
    instance: Instance,
    fate: Fate,
    late: Duration,
}

impl Travel {
    async fn make<E: Clone, T>(
        self,
        elements: Vec<E>,
        hits: impl Fn(&E) -> bool,
        apply: impl Fn(&[E]) -> Each<T>,
        answer: oneshot::Sender<Each<T>>,
    ) {
        let Self {
            world,
            instance,
            fate,
            late,
        } = self;
        world.travel(instance, fate.there).await;
        if world.store_is_down() {
            let _gone = answer.send(elements.iter().map(|_| Err(down())).collect());
            return;
        }
        let hit = |element: &E| fate.effect != Effect::Nothing && hits(element);
        let is_lost = |element: &E| hit(element) && fate.effect != Effect::LoseReply;
        let (lost, served): (Vec<_>, Vec<_>) = elements.iter().cloned().partition(is_lost);
        let mut answers = apply(&served).into_iter();
        let answers = elements.iter().map(|element| {
            if is_lost(element) {
                return Err(unheard());
            }
            let answer = answers.next().expect("one for each that was served");
            if hit(element) { Err(unheard()) } else { answer }
        });
        let answers = answers.collect();
        world.travel(instance, fate.back).await;
        let _gone = answer.send(answers);
        if fate.effect == Effect::ComeLate && !lost.is_empty() {
            sleep(late).await;
            world.live(instance).await;
            let _unheard = apply(&lost);
        }
    }
}

fn unheard() -> StoreError {
    StoreError::Unreachable {
        store: "simulated".into(),
        source: "the seed wants it so".into(),
    }
}

pub(crate) fn down() -> StoreError {
    StoreError::Unavailable {
        store: "simulated".into(),
        reason: "the seed wants it so".into(),
    }
}
