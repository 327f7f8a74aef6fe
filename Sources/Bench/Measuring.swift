import LinuxSystem
import XDPPrograms

extension ClassificationProbe {
  /// Nanoseconds per packet of so many rounds, each ascending: what a packet takes, and the loop around it.
  func measure(
    first: Int = 0, period: Int, count: Int, rounds: Int
  ) throws(ProgramError) -> (net: [Double], loop: [Double]) {
    var (net, loops): ([Double], [Double]) = ([], [])
    for _ in 0..<rounds {
      let empty = Double(try run(first: first, period: period, count: count, isEmpty: true)) / Double(count)
      let full = Double(try run(first: first, period: period, count: count)) / Double(count)
      loops.append(empty)
      net.append(full - empty)
    }
    return (net.sorted(), loops.sorted())
  }
}

/// What is built last, of so many times, one at least, and how long one took in the median. One is there at a time.
func timed<Value>(rounds: Int, _ build: () throws -> Value) throws -> (Value, milliseconds: Double) {
  var milliseconds: [Double] = []
  var last: Value?
  for _ in 0..<rounds {
    last = nil
    let start = SystemClock.monotonicNanoseconds()
    last = try build()
    milliseconds.append(Double(SystemClock.monotonicNanoseconds() - start) / 1e6)
  }
  guard let last else { throw BenchError("at least one round") }
  return (last, milliseconds.sorted().median)
}
