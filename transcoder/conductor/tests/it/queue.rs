//! Who gets which task, among several workers and several jobs.

use domain::video::Priority;
use protocol::Task;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    worker::{Worker, job_of, lease_of},
    world::{World, eventually},
};

/// Waits long enough for whatever a test does meanwhile.
const PATIENT_MS: u32 = 15_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_wait_are_answered_first_come_first_served() {
    let world = World::new().await;
    let mut waiting = vec![];
    for number in 0..4 {
        let worker = world.worker(&format!("worker-{number}"));
        waiting.push(waits(worker, &["probe"]));
        // It is in the line as soon as the conductor knows of it.
        until_workers(&world, number + 1).await;
    }
    for claim in waiting {
        let (_, job) = world.upload().await;
        let task = claim.await.unwrap().unwrap().expect("there is a task");
        assert_eq!(job_of(&task), job);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_specialised_worker_that_came_first_leaves_what_it_cannot_do_to_the_next() {
    let world = World::new().await;
    let poster = waits(world.worker("posters"), &["poster"]);
    until_workers(&world, 1).await;
    let general = waits(world.worker("general"), &[]);
    until_workers(&world, 2).await;
    let (_, job) = world.upload().await;
    let probe = general.await.unwrap().unwrap().expect("there is a task");
    assert_eq!(job_of(&probe), job);
    world.worker("general").work(&probe).await.unwrap();
    let poster = poster.await.unwrap().unwrap().expect("there is a task");
    assert_eq!(lease_of(&poster).task, "poster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_again_while_it_waits_gets_one_task() {
    let world = World::new().await;
    let request = Uuid::now_v7();
    let claim = move |worker: Worker| async move {
        worker.claim_with(request, &["probe"], PATIENT_MS).await
    };
    let first = tokio::spawn(claim(world.worker("worker-1")));
    until_workers(&world, 1).await;
    let second = tokio::spawn(claim(world.worker("worker-1")));
    assert_eq!(first.await.unwrap().unwrap_err().code(), Code::Unavailable);
    world.upload().await;
    let task = second.await.unwrap().unwrap().expect("there is a task");
    let again = claim(world.worker("worker-1")).await.unwrap().unwrap();
    assert_eq!(lease_of(&again), lease_of(&task));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_does_not_fit_waits_for_a_worker_that_it_fits() {
    let world = World::new().await;
    world.upload().await;
    let worker = world.worker("worker-1");
    let probe = worker.claim("probe").await;
    assert!(probe.memory_mib > 0);
    worker.work(&probe).await.unwrap();
    let claim = async |name: &str, capacity| {
        let claimed = world.worker(name);
        let claimed = claimed.claim_within(Uuid::now_v7(), &["encode"], 300, Some(capacity));
        claimed.await.unwrap()
    };
    let busy = protocol::Capacity {
        slots: 4,
        running: 1,
        memory_mib: 4000,
        memory_used_mib: 3999,
        version: "1".to_owned(),
    };
    assert_eq!(claim("worker-1", busy.clone()).await, None);
    let free = protocol::Capacity {
        memory_used_mib: 100,
        ..busy
    };
    let encode = claim("worker-1", free).await.expect("it fits");
    assert!(encode.memory_mib > probe.memory_mib);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fits_nowhere_is_given_to_a_worker_that_runs_nothing() {
    let world = World::new().await;
    world.upload().await;
    let tiny = |running| protocol::Capacity {
        slots: 2,
        running,
        memory_mib: 2,
        memory_used_mib: running,
        version: String::new(),
    };
    let worker = world.worker("worker-1");
    let claim = |running| worker.claim_within(Uuid::now_v7(), &["probe"], 300, Some(tiny(running)));
    assert_eq!(claim(1).await.unwrap(), None);
    assert!(claim(0).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_demand_while_tasks_wait_that_no_worker_takes() {
    let world = World::new().await;
    let supervisor = world.worker("supervisor");
    assert_eq!(supervisor.demand(50).await.unwrap().tasks, 0);
    let asked = supervisor.clone();
    let demand = tokio::spawn(async move { asked.demand(PATIENT_MS).await });
    world.upload().await;
    assert_eq!(demand.await.unwrap().unwrap().tasks, 1);
    world.worker("worker-1").claim("probe").await;
    assert_eq!(supervisor.demand(50).await.unwrap().tasks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_urgent_goes_first_also_after_a_restart() {
    let mut world = World::new().await;
    let (_, normal) = world.upload().await;
    let (_, urgent) = world.upload_with(Priority::High).await;
    let both = "select count(*) from conductor.open_jobs";
    eventually("both are open", async || world.sql(both).await == 2).await;
    world.restart().await;
    let worker = world.worker("worker-1");
    assert_eq!(job_of(&worker.claim("probe").await), urgent);
    assert_eq!(job_of(&worker.claim("probe").await), normal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_waits_who_works_and_what_runs() {
    let world = World::new().await;
    let worker = world.worker("worker-1");
    for _ in 0..3 {
        world.upload().await;
    }
    let lease = lease_of(&worker.claim("probe").await);
    worker.heartbeat(&lease).await.unwrap();
    eventually("two tasks wait", async || {
        world
            .sql("select count(*) from conductor.queue_tasks where kind = 'probe' and priority = 1")
            .await
            == 2
    })
    .await;
    eventually("one runs", async || {
        let halfway = "select count(*) from conductor.queue_running
            where worker = 'worker-1' and attempt = 1 and kind = 'probe' and progress_permille = 500
              and lease_until_ms > since_ms";
        world.sql(halfway).await == 1
    })
    .await;
    let workers = "select count(*) from conductor.queue_workers where name = 'worker-1' and kinds = '{probe}'";
    assert_eq!(world.sql(workers).await, 1);
    let totals =
        "select count(*) from conductor.queues where tasks = 2 and running = 1 and workers = 1";
    assert_eq!(world.sql(totals).await, 1);
    let page = async |header: Option<(&str, &str)>| {
        let get = reqwest::Client::new().get(format!("http://{}/metrics", world.address));
        let get = header
            .into_iter()
            .fold(get, |get, (name, value)| get.header(name, value));
        let answer = get.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = page(None).await;
    assert_eq!(status, 200);
    // Other tests count in the same process.
    for name in [
        "kinolog_conductor_tasks_waiting{kind=\"probe\"}",
        "kinolog_conductor_tasks_running{kind=\"probe\"}",
        "kinolog_conductor_workers ",
        "kinolog_conductor_slots ",
        "kinolog_conductor_oldest_wait_seconds ",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert_eq!(page(Some(("x-forwarded-for", "10.0.0.1"))).await.0, 401);

    worker.fail(&lease, "SOURCE_NOT_MEDIA", "no").await.unwrap();
    eventually("nothing runs", async || {
        world.sql("select running from conductor.queues").await == 0
    })
    .await;
}

type Claimed = tokio::task::JoinHandle<Result<Option<Task>, Status>>;

/// Sends a claim.
fn waits(worker: Worker, kinds: &'static [&'static str]) -> Claimed {
    tokio::spawn(async move { worker.claim_with(Uuid::now_v7(), kinds, PATIENT_MS).await })
}

/// A worker is heard of when its claim has taken its place in the line.
async fn until_workers(world: &World, count: u32) {
    let supervisor = world.worker("supervisor");
    eventually("the claims wait", async || {
        supervisor.demand(0).await.unwrap().workers == count
    })
    .await;
}
