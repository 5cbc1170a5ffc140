//! Campaigns for the tests of the renderings: one that nothing is wrong with, and one that loses.

use crate::campaign::conclude::conclude;
use crate::campaign::{
    CampaignRecord, Counts, Failure, MenuEntry, Outcome, Place, Plan, Recovery, SCHEMA_VERSION,
    Shrunk, Signature, Size, Span, Strike, Trial,
};
use crate::record::{Known, Text64};

fn strike(kind: &str, target: &str) -> Strike {
    Strike {
        name: format!("{kind}-1"),
        kind: kind.into(),
        target: target.into(),
        at_us: 1_200_000,
        for_us: 500_000,
        witness: Known::Value("signal 9 and a new pid: agent".into()),
        ..Strike::default()
    }
}

fn trial(number: u32) -> Trial {
    let us = 100_000 * u64::from(number % 7);
    Trial {
        number,
        seed: Text64(u64::from(number) * 7),
        run: format!("trials/{number}"),
        outcome: Outcome::Passed,
        schedule: vec![strike("kill", "agent")],
        counts: Counts {
            issued: 1000,
            owed: 990,
            stored: 990,
            ..Counts::default()
        },
        windows: vec![Recovery {
            faults: vec!["kill-1".into()],
            injected_us: 2_200_000,
            healed_us: 2_700_000,
            noticed: Span::Observed { us: 10_000 },
            first_stored: Span::Observed { us: 50_000 + us },
            drained: Span::Observed { us: 90_000 + us },
            in_band: Span::Censored { us: 4_000_000 },
        }],
        took_us: 14_200_000,
        load_and_drain_us: 13_000_000,
        ..Trial::default()
    }
}

/// So many trials with a kill of the agent each; none failed.
pub(in crate::campaign) fn clean(trials: u32) -> CampaignRecord {
    let mut record = CampaignRecord {
        schema_version: SCHEMA_VERSION,
        repeat: "flume-bench campaign scenarios/hdfs.toml --trials 59 --seed 7".into(),
        plan: Plan {
            size: Size::Trials { trials },
            jobs: 1,
            steady_us: 8_000_000,
            max_overlap: 2,
            max_faults: 4,
            menu: ["cut_link", "kill"]
                .map(|kind| MenuEntry {
                    kind: kind.into(),
                    targets: vec!["agent".into()],
                    at_us: [1_000_000, 6_000_000],
                    for_us: [500_000, 2_000_000],
                    ..MenuEntry::default()
                })
                .into(),
            left_out: vec!["pause".into()],
            load: "20000 events/s into avro".into(),
            objectives: vec!["lost at most 0".into()],
            guarantees: vec!["at_least_once".into(), "comes_back".into()],
            ..Plan::default()
        },
        trials: (1..=trials).map(trial).collect(),
        ..CampaignRecord::default()
    };
    record.identity.scenario = "hdfs".into();
    record.identity.started = "2026-01-01T12:30:45.123456789Z".into();
    record.identity.ended = Known::Value("2026-01-01T13:00:00.5Z".into());
    record.identity.campaign = "20260101-120000-campaign-hdfs-0123abcd".into();
    record.identity.provider = "embedded".into();
    record.identity.store = "hdfs".into();
    conclude(&mut record);
    record
}

/// Twelve trials, of which the third loses events, with a smallest scenario, and the fifth is void.
pub(in crate::campaign) fn losing() -> CampaignRecord {
    let mut record = clean(12);
    let third = &mut record.trials[2];
    third.outcome = Outcome::Failed;
    third.counts.lost = 40;
    third.schedule.push(strike("cut_link", "agent->namenode"));
    third.failures = vec![Failure {
        class: "lost".into(),
        guarantee: "at_least_once".into(),
        events: 40,
        sentence: "40 of 990 owed events are lost (0 are allowed).".into(),
        places: vec![Place {
            events: 40,
            hop: Known::Value("channel".into()),
            window: Known::Value("kill-1".into()),
            evidence: "its channel was 99 % full at the last look before".into(),
        }],
    }];
    let fifth = &mut record.trials[4];
    fifth.outcome = Outcome::Void;
    fifth.void = vec!["kill-1: nobody but the injector saw it take effect".into()];
    record.shrunk = vec![Shrunk {
        trial: 3,
        signature: Signature {
            class: "lost".into(),
            hop: "channel".into(),
        },
        replays: [9, 10],
        wanted: Some(5),
        complete: true,
        runs: 41,
        schedule: vec![strike("kill", "agent")],
        faults_before: 2,
        rate_before: "2000/s".into(),
        rate_after: "250/s".into(),
        confirmed: Some([9, 10]),
        file: "smallest-1.toml".into(),
        sentence: "fails 9 of 10 fresh runs with kill agent: nothing smaller fails".into(),
        took_us: 60_000_000,
    }];
    let first = record.trials[2].clone();
    // Its message stands first in what the tests change.
    record.trials.retain(|trial| trial.number != 3);
    record.trials.insert(0, first);
    conclude(&mut record);
    record
}
