//! A read model is built anew beside the one that serves, and nobody notices.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use domain::video::Changes;
use projections::{
    announcements, catalogue, engine,
    generations::{Generation, State},
    popularity,
    reader::Model,
};

use crate::platform::{DAWN_MS, PATIENCE, Platform, Story, running, story};

impl Platform {
    async fn generation(&self, model: Model, number: i64) -> Generation {
        let all = engine::generations(&self.config, model).await.unwrap();
        let found = all.into_iter().find(|it| it.number == number);
        found.unwrap_or_else(|| panic!("{model:?} has no generation {number}"))
    }

    /// Waits until it is built no more.
    async fn built(&self, model: Model, number: i64) -> Generation {
        let built = async {
            loop {
                let generation = self.generation(model, number).await;
                if generation.state != State::Building {
                    return generation;
                }
                tokio::task::yield_now().await;
            }
        };
        let built = tokio::time::timeout(PATIENCE, built).await;
        built.unwrap_or_else(|_| panic!("generation {number} of {model:?} is never built"))
    }

    async fn rebuilt(&self, model: Model) -> i64 {
        let number = engine::begin(&self.config, model, false).await.unwrap();
        let generation = self.built(model, number).await;
        assert_eq!(generation.state, State::Serving, "{:?}", generation.note);
        number
    }

    async fn assert_verified(&self, model: Model) {
        let compared = engine::verify(&self.config, &self.log, model)
            .await
            .unwrap();
        assert_eq!(compared.differences, [""; 0], "{model:?}");
        assert!(
            compared.rows > 0,
            "{model:?} is compared with something in it"
        );
    }
}

async fn retitle(platform: &Platform, story: &Story, number: u64) -> u64 {
    let changes = Changes {
        title: Some(number.to_string()),
        ..Changes::default()
    };
    platform.change(story, changes).await
}

async fn title(platform: &Platform, story: &Story) -> u64 {
    let video = catalogue::video(&platform.reader, story.id).await.unwrap();
    let title = video.expect("it never goes away").details.title;
    title.parse().unwrap_or(0)
}

#[tokio::test]
async fn a_rebuild_under_writes_is_noticed_by_no_reader() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let reader = platform.reader.clone();
    let listening = running(|stop| async move {
        reader.listen(stop).await;
        Ok(())
    });
    let (watched, other) = (story(1, "0"), story(2, "ready"));
    platform.request(&watched).await;
    platform.make_ready(&other).await;
    let last = platform.view(other.id, "one", DAWN_MS).await;
    platform.reach(last).await;

    let is_over = AtomicBool::new(false);
    // What was written last, and where.
    let written = Mutex::new((0, last));
    let writing = async {
        for number in 1.. {
            let at = retitle(&platform, &watched, number).await;
            *written.lock().unwrap() = (number, at);
            if is_over.load(Ordering::Relaxed) {
                return number;
            }
        }
        unreachable!("nobody counts that far");
    };
    let reading = async {
        let (mut reads, mut announced) = (0, 0);
        while !is_over.load(Ordering::Relaxed) {
            let (number, at) = *written.lock().unwrap();
            let reached = platform.reader.wait_for(Model::Catalogue, at, PATIENCE);
            assert!(reached.await.unwrap(), "the read models stay behind {at}");
            let seen = title(&platform, &watched).await;
            assert!(seen >= number, "{seen} is older than {number} at {at}");
            let told = announcements::after(&platform.reader, None, 100).await;
            let told = told.unwrap().len();
            assert!(told >= announced, "announcements went away");
            announced = told;
            let views = popularity::views(&platform.reader, &[other.id]).await;
            assert_eq!(views.unwrap(), [1]);
            reads += 1;
        }
        reads
    };
    let rebuilding = async {
        for model in Model::ALL {
            assert_eq!(platform.rebuilt(model).await, 2);
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (number, reads, ()) = tokio::join!(writing, reading, rebuilding);
    println!("{number} changes were written and {reads} times read during three rebuilds");

    let (_, last) = *written.lock().unwrap();
    platform.reach(last).await;
    assert_eq!(title(&platform, &watched).await, number);
    let told = announcements::after(&platform.reader, None, 100)
        .await
        .unwrap();
    assert_eq!(told.len(), 2, "playable and ready, each once");
    for model in Model::ALL {
        platform.assert_verified(model).await;
        assert_eq!(platform.generation(model, 1).await.state, State::Kept);
    }

    for model in Model::ALL {
        let back = engine::back(&platform.config, &platform.log, model).await;
        assert_eq!(back.unwrap(), 1, "{model:?}");
        let last = retitle(&platform, &watched, number + 1).await;
        platform.reach(last).await;
        assert_eq!(title(&platform, &watched).await, number + 1);
        platform.assert_verified(model).await;
    }
    listening.stop().await;
    projecting.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_says_something_else_serves_only_when_it_is_accepted() {
    let platform = Platform::new().await;
    let projecting = platform.project();
    let story = story(1, "right");
    let (_, last) = platform.make_ready(&story).await;
    platform.reach(last).await;
    let mut connection = platform.catalogue().await;
    sqlx::query("update videos set title = 'wrong'")
        .execute(&mut connection)
        .await
        .unwrap();
    let model = Model::Catalogue;
    let compared = engine::verify(&platform.config, &platform.log, model);
    let differences = compared.await.unwrap().differences;
    assert_eq!(
        differences,
        ["videos: the same 1 rows, and they do not say the same"]
    );

    let number = engine::begin(&platform.config, model, false).await.unwrap();
    let again = engine::begin(&platform.config, model, false).await;
    assert!(
        again
            .unwrap_err()
            .to_string()
            .contains("being rebuilt already")
    );
    let refused = platform.built(model, number).await;
    assert_eq!(refused.state, State::Refused);
    assert_eq!(refused.note.as_ref(), differences.first());
    assert_eq!(platform.generation(model, 1).await.state, State::Serving);

    let number = engine::begin(&platform.config, model, true).await.unwrap();
    assert_eq!(platform.built(model, number).await.state, State::Serving);
    platform.reader.follow_swaps().await.unwrap();
    let video = catalogue::video(&platform.reader, story.id).await.unwrap();
    assert_eq!(video.unwrap().details.title, "right");
    projecting.stop().await;
    platform.stop().await;
}

#[tokio::test]
async fn a_newer_projection_is_built_by_itself_while_the_older_serves() {
    let platform = Platform::new().await;
    let (_, last) = platform.make_ready(&story(1, "older")).await;
    platform.project_up_to(last).await;
    let mut connection = platform.catalogue().await;
    sqlx::query("update read_models.generations set version = 0")
        .execute(&mut connection)
        .await
        .unwrap();
    let projecting = platform.project();
    let newer = story(2, "newer");
    let (_, last) = platform.make_ready(&newer).await;
    platform.reach(last).await;
    for model in Model::ALL {
        let appears = async {
            while engine::generations(&platform.config, model)
                .await
                .unwrap()
                .len()
                < 2
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, appears)
            .await
            .expect("a newer one is begun");
        let generation = platform.built(model, 2).await;
        assert_eq!(generation.state, State::Serving);
        assert!(generation.version > 0, "{model:?}");
    }
    platform.reader.follow_swaps().await.unwrap();
    assert!(
        catalogue::video(&platform.reader, newer.id)
            .await
            .unwrap()
            .is_some()
    );
    projecting.stop().await;

    // A program that does not know the newer version writes nothing of it.
    sqlx::query("update read_models.generations set version = 9 where generation = 2")
        .execute(&mut connection)
        .await
        .unwrap();
    let before = platform.reader.standing(Model::Catalogue).await.unwrap();
    let projecting = platform.project();
    let story = story(3, "unknown to it");
    let last = platform.request(&story).await;
    let early = std::time::Duration::from_secs(2);
    let reached = platform
        .reader
        .wait_for(Model::Catalogue, last, early)
        .await;
    assert!(!reached.unwrap());
    assert_eq!(
        platform.reader.standing(Model::Catalogue).await.unwrap(),
        before
    );
    projecting.stop().await;
    platform.stop().await;
}
