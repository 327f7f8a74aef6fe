import Foundation
import LinuxSystem

/// A program of a measurement, with its output in a file. It dies with this process, however that ends.
///
/// One thread uses it: the one that entered the namespace, whose children inherit it.
final class Child {
  let name: String
  private let process: ChildProcess
  private let logPath: String
  private let errorPath: String

  /// - Parameters:
  ///   - cpu: What to pin it to; nil: it does that itself.
  ///   - folder: For its output.
  ///   - isRealTime: It runs before all that is not: see ``Enclosure/realTime``.
  init(
    _ name: String, _ command: [String], cpu: Int?, folder: String, isRealTime: Bool, preload: String? = nil
  ) throws(BenchError) {
    self.name = name
    logPath = "\(folder)/\(name).out"
    errorPath = "\(folder)/\(name).err"
    // setpriv, chrt, taskset and env replace themselves: the process is the program's.
    let arguments =
      ["setpriv", "--pdeathsig", "KILL"] + (isRealTime ? Enclosure.realTime : [])
      + (cpu.map { ["taskset", "-c", "\($0)"] } ?? [])
      + (preload.map { ["env", "LD_PRELOAD=\($0)"] } ?? []) + command
    do throws(SystemError) {
      process = try ChildProcess(arguments, output: .file(logPath), errors: .file(errorPath))
    } catch { throw BenchError("cannot start \(name): \(error)") }
  }

  var isRunning: Bool { process.isRunning }
  var output: String { (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? "" }
  var errors: String { (try? String(contentsOfFile: errorPath, encoding: .utf8)) ?? "" }

  /// Asks it to end, and kills it if it doesn't within three seconds.
  func stop(_ signal: CInt = SIGTERM) {
    process.signal(signal)
    if waitUntilEnded(seconds: 3) { return }
    process.signal(SIGKILL)
    process.wait()
  }

  /// False if it still runs then.
  func waitUntilEnded(seconds: Double) -> Bool { eventually(seconds: seconds) { !self.process.isRunning } }

  /// Waits for what tells that it works. Throws with its last words if it ends instead, or nothing happens.
  func wait(seconds: Double = 10, for what: String, _ condition: () -> Bool) throws(BenchError) {
    let isFulfilled = eventually(seconds: seconds) { condition() || !self.process.isRunning }
    if isFulfilled, condition() { return }
    throw BenchError("\(name) \(isFulfilled ? "ended" : "did nothing") before \(what):\n\(lastWords)")
  }

  /// The end of its output, for errors.
  var lastWords: String {
    (output + errors).split(separator: "\n").suffix(8).map { "    " + String($0.prefix(160)) }.joined(separator: "\n")
  }

  /// CPU time of all its threads so far.
  func cpuNanoseconds() throws(BenchError) -> UInt64 {
    let folder = "/proc/\(process.identifier)/task"
    guard let threads = try? FileManager.default.contentsOfDirectory(atPath: folder), !threads.isEmpty else {
      throw BenchError("\(name) is gone:\n\(lastWords)")
    }
    // A thread that ends meanwhile takes its time with it; a silent program starts and ends none.
    return threads.reduce(0) { sum, thread in
      let text = try? SmallFile.readText("\(folder)/\(thread)/schedstat")
      return sum + (text?.split(separator: " ").first.flatMap { UInt64($0) } ?? 0)
    }
  }
}

/// Asks every five milliseconds; false if it is never true.
func eventually(seconds: Double, _ condition: () -> Bool) -> Bool {
  let deadline = SystemClock.monotonicNanoseconds() + UInt64(seconds * 1e9)
  while !condition() {
    if SystemClock.monotonicNanoseconds() >= deadline { return false }
    usleep(5000)
  }
  return true
}
