import CoreMetrics
import Synchronization

/// One series that code writes to as things happen. Any thread.
protocol Instrument: AnyObject, Sendable {
  /// Writes the series' present value.
  func write(_ labels: [(String, String)], to family: inout MetricFamily)
}

final class CounterInstrument: Instrument, CounterHandler {
  private let value = Atomic<UInt64>(0)

  func increment(by amount: Int64) {
    // A counter only grows: a caller's negative amount is its mistake and must not look like a restart.
    if amount > 0 { value.wrappingAdd(UInt64(amount), ordering: .relaxed) }
  }
  func reset() { value.store(0, ordering: .relaxed) }
  func write(_ labels: [(String, String)], to family: inout MetricFamily) {
    family.sample(labels, value.load(ordering: .relaxed))
  }
}

final class FloatingPointCounterInstrument: Instrument, FloatingPointCounterHandler {
  private let value = Mutex(0.0)

  func increment(by amount: Double) {
    if amount > 0, amount.isFinite { value.withLock { $0 += amount } }
  }
  func reset() { value.withLock { $0 = 0 } }
  func write(_ labels: [(String, String)], to family: inout MetricFamily) {
    family.sample(labels, value.withLock { $0 })
  }
}

/// A meter, or a recorder that doesn't aggregate: the last value.
final class GaugeInstrument: Instrument, MeterHandler, RecorderHandler {
  private let value = Mutex(0.0)

  func set(_ newValue: Int64) { set(Double(newValue)) }
  func set(_ newValue: Double) { value.withLock { $0 = newValue } }
  func increment(by amount: Double) { value.withLock { $0 += amount } }
  func decrement(by amount: Double) { value.withLock { $0 -= amount } }
  func record(_ newValue: Int64) { set(Double(newValue)) }
  func record(_ newValue: Double) { set(newValue) }
  func write(_ labels: [(String, String)], to family: inout MetricFamily) {
    family.sample(labels, value.withLock { $0 })
  }
}

/// A timer, or a recorder that aggregates: how many values fell where.
final class HistogramInstrument: Instrument, TimerHandler, RecorderHandler {
  /// Seconds, for timers.
  static let durationBounds: [Double] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  ]
  /// For recorders: sizes and counts.
  static let sizeBounds: [Double] = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576]

  private struct State {
    var counts: [UInt64]
    var sum = 0.0
  }
  private let bounds: [Double]
  private let state: Mutex<State>

  /// `bounds` ascend.
  init(bounds: [Double]) {
    self.bounds = bounds
    state = Mutex(State(counts: Array(repeating: 0, count: bounds.count + 1)))
  }

  func record(_ value: Int64) { record(Double(value)) }
  func record(_ value: Double) {
    guard !value.isNaN else { return }
    let bucket = bounds.firstIndex { value <= $0 } ?? bounds.count
    state.withLock { state in
      state.counts[bucket] &+= 1
      state.sum += value
    }
  }
  func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

  func write(_ labels: [(String, String)], to family: inout MetricFamily) {
    let state = state.withLock { $0 }
    family.histogram(labels, bounds: bounds, counts: state.counts, sum: state.sum)
  }
}
