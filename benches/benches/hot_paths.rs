//! Hot paths: what is done for every transaction, answer or sample.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flume_bench_benches::work::{TRANSACTION, body, channel};
use flume_bench_engine::event::BatchBuilder;
use flume_bench_loadgen::idset::IdSet;
use flume_bench_loadgen::latency::Latency;

fn memory_channel(criterion: &mut Criterion) {
    let (memory, mut builder, body) = (channel::memory(), BatchBuilder::new(), body());
    let mut group = criterion.benchmark_group("memory channel");
    group.throughput(Throughput::Elements(TRANSACTION as u64));
    group.bench_function("build, put, take 100", |bencher| {
        bencher.iter(|| {
            let batch = channel::batch(&mut builder, &body, TRANSACTION)?;
            channel::put(&memory, &batch)?;
            drop(batch);
            channel::take(&memory, TRANSACTION, Duration::ZERO)
        });
    });
    group.finish();
}

fn histogram(criterion: &mut Criterion) {
    let (mut latency, mut micros) = (Latency::new(), 1_i64);
    let mut group = criterion.benchmark_group("latency");
    group.throughput(Throughput::Elements(1));
    group.bench_function("record", |bencher| {
        bencher.iter(|| {
            // Values from 0 to a second, in an order that no cache line likes.
            micros = (micros * 48_271) % 1_000_003;
            latency.record(black_box(micros), 1);
        });
    });
    group.finish();
}

fn id_set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("id set");
    group.throughput(Throughput::Elements(1));
    group.bench_function("insert every second id", |bencher| {
        let (mut set, mut next) = (IdSet::new(), 0);
        bencher.iter(|| {
            next = (next + 2) % (1 << 24);
            set.insert_range(next..next + 1)
        });
    });
    group.finish();
}

criterion_group!(hot_paths, memory_channel, histogram, id_set);
criterion_main!(hot_paths);
