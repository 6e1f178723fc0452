import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  COUNTED_DEVICES,
  COUNTED_PLUGINS,
  COUNTED_PORTS,
  COUNTED_REASONS,
  COUNTER,
  COUNTERS_BYTES,
  Counters,
  DEVICE_RECEIVE_ERRORS,
  DEVICE_SEND_ERRORS,
  GLOBAL_COUNTER_NAMES,
  PLUGIN_CALLS,
  PLUGIN_FAILURES,
  PLUGIN_TIME_MS,
  PORT_BYTES_IN,
  PORT_BYTES_OUT,
  PORT_COUNTER_NAMES,
  PORT_FLOWS_LIVE,
  PORT_PACKETS_IN,
  PORT_PACKETS_OUT,
  PORT_REPINS,
  PORT_SEQUENCE,
} from './counters.ts';

function make(): Counters {
  return new Counters(new Float64Array(COUNTERS_BYTES / 8));
}

test('every counter has a place of its own', () => {
  const counters = make();
  let next = 1;
  const expected = new Map<string, number>();
  for (let number = 0; number < GLOBAL_COUNTER_NAMES.length; number++) {
    counters.add(number, next);
    expected.set(`global ${number}`, next++);
  }
  for (const port of [0, 1, 2, COUNTED_PORTS - 1]) {
    for (let counter = 0; counter < PORT_COUNTER_NAMES.length; counter++) {
      counters.addPort(port, counter, next);
      expected.set(`port ${port} ${counter}`, next++);
    }
    for (let reason = 0; reason < COUNTED_REASONS; reason++) {
      for (let times = 0; times <= reason; times++) counters.countDrop(port, reason);
      expected.set(`drop ${port} ${reason}`, reason + 1);
    }
  }
  for (let reason = 0; reason < COUNTED_REASONS; reason++) {
    for (let times = 0; times < reason + 3; times++) counters.countCreation(reason);
    expected.set(`creation ${reason}`, reason + 3);
  }
  for (let plugin = 0; plugin < COUNTED_PLUGINS; plugin++) {
    for (const counter of [PLUGIN_CALLS, PLUGIN_TIME_MS, PLUGIN_FAILURES]) {
      assert.equal(counters.addPlugin(plugin, counter, next), next);
      expected.set(`plugin ${plugin} ${counter}`, next++);
    }
  }
  for (const device of [0, 1, COUNTED_DEVICES - 1]) {
    for (const counter of [DEVICE_SEND_ERRORS, DEVICE_RECEIVE_ERRORS]) {
      counters.setDevice(device, counter, next);
      expected.set(`device ${device} ${counter}`, next++);
    }
  }
  for (const [name, value] of expected) {
    const [kind, first, second] = name.split(' ');
    const [one, other] = [Number(first), Number(second)];
    const readers: Readonly<Record<string, () => number>> = {
      global: () => counters.global(one),
      port: () => counters.port(one, other),
      drop: () => counters.drops(one, other),
      creation: () => counters.creations(one),
      plugin: () => counters.plugin(one, other),
      device: () => counters.device(one, other),
    };
    assert.equal(readers[kind!]!(), value, name);
  }
});

test('packets and bytes are counted by port and direction', () => {
  const counters = make();
  counters.countIn(3, 100);
  counters.countIn(3, 50);
  counters.countOut(3, 1400);
  assert.equal(counters.port(3, PORT_PACKETS_IN), 2);
  assert.equal(counters.port(3, PORT_BYTES_IN), 150);
  assert.equal(counters.port(3, PORT_PACKETS_OUT), 1);
  assert.equal(counters.port(3, PORT_BYTES_OUT), 1400);
  assert.equal(counters.port(4, PORT_PACKETS_IN), 0);
});

test('drops add up over ports; numbers out of range count at port 0 and reason 0', () => {
  const counters = make();
  counters.countDrop(1, 5);
  counters.countDrop(900, 5);
  counters.countDrop(-1, 5);
  counters.countDrop(COUNTED_PORTS, 5);
  assert.equal(counters.dropsOfReason(5), 4);
  assert.equal(counters.drops(0, 5), 2);
  counters.countDrop(1, COUNTED_REASONS);
  counters.countDrop(1, -1);
  assert.equal(counters.drops(1, 0), 2);
});

test('a reader over the same memory sees what the writer counts', () => {
  const buffer = new ArrayBuffer(COUNTERS_BYTES);
  const writer = new Counters(new Float64Array(buffer));
  const reader = new Counters(new Float64Array(buffer));
  writer.add(COUNTER.repins, 2);
  writer.addPort(7, PORT_REPINS, 1);
  assert.equal(reader.global(COUNTER.repins), 2);
  assert.equal(reader.port(7, PORT_REPINS), 1);
});

test('clearing a port leaves its neighbours alone', () => {
  const counters = make();
  for (const port of [6, 7, 8]) {
    counters.setPort(port, PORT_FLOWS_LIVE, port);
    counters.countDrop(port, COUNTED_REASONS - 1);
    counters.countIn(port, 1);
    counters.values[counters.portSlot(port, PORT_SEQUENCE)] = port;
  }
  counters.claimPort(7, 3);
  assert.equal(counters.port(7, PORT_PACKETS_IN), 1, 'counted before anybody said for whom');
  counters.claimPort(7, 3);
  assert.equal(counters.port(7, PORT_PACKETS_IN), 1);
  counters.claimPort(7, 4);
  assert.equal(counters.port(7, PORT_SEQUENCE), 7, 'kept: it is the other end that it belongs to');
  assert.equal(counters.port(7, PORT_FLOWS_LIVE), 0);
  assert.equal(counters.port(7, PORT_PACKETS_IN), 0);
  assert.equal(counters.drops(7, COUNTED_REASONS - 1), 0);
  for (const port of [6, 8]) {
    assert.equal(counters.port(port, PORT_FLOWS_LIVE), port);
    assert.equal(counters.port(port, PORT_PACKETS_IN), 1);
    assert.equal(counters.drops(port, COUNTED_REASONS - 1), 1);
  }
});

test('a section that is too short is an error', () => {
  assert.throws(() => new Counters(new Float64Array(10)), RangeError);
});
