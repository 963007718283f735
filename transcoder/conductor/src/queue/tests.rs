use domain::id::JobId;
use uuid::Uuid;

use super::*;

const EVERYTHING: Room<'_> = Room {
    kinds: &[],
    memory: Memory::Unknown,
};

#[test]
fn videos_that_are_not_playable_come_first_then_what_was_asked_for_earlier() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(offer("c", 3), now);
    queue.add(playable(offer("a", 1)), now);
    queue.add(offer("b", 2), now);
    assert_eq!(taken(&mut queue, 3, now), ["b", "c", "a"]);
}

#[test]
fn what_is_urgent_comes_before_what_is_older_but_not_before_what_is_not_playable() {
    let mut queue = Queue::default();
    let now = Instant::now();
    let of = |priority, offer| Offer { priority, ..offer };
    queue.add(of(Priority::Low, offer("low", 1)), now);
    queue.add(of(Priority::Normal, offer("normal", 2)), now);
    queue.add(of(Priority::High, offer("high", 3)), now);
    queue.add(of(Priority::High, playable(offer("playable", 0))), now);
    let order = ["high", "normal", "low", "playable"];
    assert_eq!(taken(&mut queue, 4, now), order);
}

#[test]
fn within_a_job_its_own_order_holds() {
    let mut queue = Queue::default();
    let now = Instant::now();
    for (task, rank) in [
        ("poster", 3),
        ("audio", 1),
        ("encode-0000", 2),
        ("encode-0001", 2),
    ] {
        let offer = Offer {
            rank,
            ..offer(task, 1)
        };
        queue.add(offer, now);
    }
    let order = ["audio", "encode-0000", "encode-0001", "poster"];
    assert_eq!(taken(&mut queue, 4, now), order);
}

#[test]
fn one_in_four_is_the_one_that_has_waited_longest_once_it_is_overdue() {
    let mut queue = Queue::default();
    let began = Instant::now();
    queue.add(playable(offer("old", 1)), began);
    queue.add(playable(offer("older", 2)), began - Duration::from_secs(1));
    let late = began + OVERDUE;
    for number in 0..8 {
        queue.add(offer(&format!("new-{number}"), 10 + number), late);
    }
    let order = taken(&mut queue, 8, late);
    let expected = [
        "new-0", "new-1", "new-2", "older", "new-3", "new-4", "new-5", "old",
    ];
    assert_eq!(order, expected);
}

#[test]
fn nothing_is_overdue_a_moment_before() {
    let mut queue = Queue::default();
    let began = Instant::now();
    queue.add(playable(offer("old", 1)), began);
    let late = began + OVERDUE - Duration::from_millis(1);
    for number in 0..5 {
        queue.add(offer(&format!("new-{number}"), 10 + number), late);
    }
    let order = taken(&mut queue, 6, late);
    assert_eq!(order.last().map(String::as_str), Some("old"));
}

#[test]
fn a_turn_that_nobody_overdue_could_use_is_not_lost() {
    let mut queue = Queue::default();
    let began = Instant::now();
    let late = began + OVERDUE;
    for number in 0..6 {
        queue.add(offer(&format!("new-{number}"), 10 + number), late);
    }
    taken(&mut queue, 5, late);
    queue.add(playable(offer("old", 1)), began);
    assert_eq!(taken(&mut queue, 1, late), ["old"]);
}

#[test]
fn a_specialised_worker_gets_its_kinds_only() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(offer("first", 1), now);
    let probe = Offer {
        kind: "probe",
        ..offer("second", 2)
    };
    queue.add(probe, now);
    let kinds = ["probe".to_owned()];
    let room = Room {
        kinds: &kinds,
        memory: Memory::Unknown,
    };
    let got = queue.take(room, now).unwrap();
    assert_eq!(got.task.0, "second");
    assert_eq!(queue.take(room, now), None);
}

#[test]
fn only_what_fits_is_handed_out() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(needing(1500, offer("large", 1)), now);
    queue.add(needing(300, offer("small", 2)), now);
    let got = queue.take(busy(500, 2000), now).unwrap();
    assert_eq!(got.task.0, "small");
    assert_eq!(queue.take(busy(200, 2000), now), None);
    let got = queue.take(busy(1500, 2000), now).unwrap();
    assert_eq!(got.task.0, "large");
}

#[test]
fn a_large_task_is_passed_over_a_limited_number_of_times() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(needing(1500, offer("large", 1)), now);
    for number in 0..=PASSED_MAX {
        queue.add(needing(10, offer(&format!("small-{number}"), 2)), now);
    }
    for _ in 0..PASSED_MAX {
        assert!(queue.take(busy(500, 2000), now).is_some());
    }
    assert_eq!(
        queue.take(busy(500, 2000), now),
        None,
        "it has to run empty"
    );
    let got = queue.take(busy(1500, 2000), now).unwrap();
    assert_eq!(got.task.0, "large");
    assert!(queue.take(busy(500, 2000), now).is_some());
}

#[test]
fn a_worker_that_could_never_take_it_is_not_held_up_by_it() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(needing(1500, offer("large", 1)), now);
    let small_one = Memory::Known {
        free_mib: 1000,
        all_mib: 1000,
        is_idle: true,
        largest_mib: 2000,
    };
    let room = Room {
        kinds: &[],
        memory: small_one,
    };
    for number in 0..=PASSED_MAX {
        queue.add(needing(10, offer(&format!("small-{number}"), 2)), now);
        assert_eq!(
            queue.take(room, now).unwrap().task.0,
            format!("small-{number}")
        );
    }
    assert_eq!(queue.take(room, now), None);
}

#[test]
fn what_fits_nowhere_is_given_to_the_largest_worker_alone() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.add(needing(9000, offer("huge", 1)), now);
    assert_eq!(queue.take(busy(1999, 2000), now), None);
    let idle = |all_mib| Room {
        kinds: &[],
        memory: Memory::Known {
            free_mib: all_mib,
            all_mib,
            is_idle: true,
            largest_mib: 2000,
        },
    };
    assert_eq!(queue.take(idle(1000), now), None);
    let got = queue.take(idle(2000), now).unwrap();
    assert_eq!(got.task.0, "huge");
}

#[test]
fn what_is_offered_again_keeps_its_place_and_its_age() {
    let mut queue = Queue::default();
    let began = Instant::now();
    assert!(queue.add(offer("a", 1), began));
    assert!(!queue.add(offer("a", 1), began + OVERDUE));
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.oldest(), Some(began));
    assert!(!queue.add(playable(offer("a", 1)), began + OVERDUE));
    assert_eq!((queue.len(), queue.oldest()), (1, Some(began)));
    queue.remove(offer("a", 1).job, &offer("a", 1).task);
    assert_eq!((queue.len(), queue.oldest()), (0, None));
    assert_eq!(queue.first(1).count(), 0);
}

fn taken(queue: &mut Queue, count: usize, now: Instant) -> Vec<String> {
    let take = |_| Some(queue.take(EVERYTHING, now)?.task.0);
    (0..count).filter_map(take).collect()
}

fn busy(free_mib: u32, all_mib: u32) -> Room<'static> {
    Room {
        kinds: &[],
        memory: Memory::Known {
            free_mib,
            all_mib,
            is_idle: false,
            largest_mib: all_mib,
        },
    }
}

/// An encode of a job of its own, which was asked for then.
fn offer(task: &str, asked_at_ms: i64) -> Offer {
    Offer {
        playable: false,
        priority: Priority::Normal,
        asked_at_ms,
        job: JobId(Uuid::nil()),
        rank: 0,
        task: TaskId(task.to_owned()),
        kind: "encode",
        memory_mib: 100,
    }
}

fn playable(offer: Offer) -> Offer {
    Offer {
        playable: true,
        ..offer
    }
}

fn needing(memory_mib: u32, offer: Offer) -> Offer {
    Offer {
        memory_mib,
        ..offer
    }
}
