//! Codecs: what a byte costs on its way in and out of our formats.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flume_bench_benches::work::{BODY, HEADERS, TRANSACTION, body, channel};
use flume_bench_engine::event::{Batch, BatchBuilder};
use flume_bench_engine::wire::avro_rpc::datum::{Reader, put_event};
use flume_bench_loadgen::token::{LEN, Token, examine, payload_crc};

/// A token of run 1 around a payload of which 16 bytes stand before it.
fn token(payload: &[u8]) -> Token {
    let (before, after) = payload.split_at(16);
    Token {
        run: 1,
        producer: 2,
        sequence: 3,
        intended: 4,
        before: before.len() as u32,
        after: after.len() as u32,
        payload_crc: payload_crc(before, after),
    }
}

fn tokens(criterion: &mut Criterion) {
    let payload = &body()[..BODY - LEN];
    let token = token(payload);
    let record = [&payload[..16], &token.encode(), &payload[16..]].concat();
    let mut group = criterion.benchmark_group("token");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(&token).encode())
    });
    group.bench_function("examine 512 B", |bencher| {
        bencher.iter(|| examine(black_box(&record), 1));
    });
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let (mut builder, body) = (BatchBuilder::new(), body());
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(TRANSACTION as u64));
    group.bench_function("build 100", |bencher| {
        bencher.iter(|| channel::batch(&mut builder, black_box(&body), TRANSACTION));
    });
    let Ok(batch) = channel::batch(&mut builder, &body, TRANSACTION) else {
        return;
    };
    // What a replay does with every record of the log: it trusts nothing.
    group.bench_function("check 100", |bencher| {
        bencher.iter_batched(
            || batch.as_bytes().to_vec(),
            Batch::from_bytes,
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn avro(criterion: &mut Criterion) {
    let (mut wire, body) = (Vec::new(), body());
    put_event(&mut wire, || HEADERS.into_iter(), &body);
    let mut group = criterion.benchmark_group("avro event");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            out.clear();
            put_event(&mut out, || HEADERS.into_iter(), black_box(&body));
            out.len()
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let event = Reader::new(black_box(&wire)).event();
            event.map(|event| event.headers().count() + event.body().len())
        });
    });
    group.finish();
}

criterion_group!(codecs, tokens, batches, avro);
criterion_main!(codecs);
