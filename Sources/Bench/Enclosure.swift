import Dispatch
import Foundation
import LinuxSystem

/// Network and mount namespaces of the measurements' own, without a name: they go with the last process in them, also
/// when all are killed. So do the devices, programs and files made there.
public enum Enclosure {
  /// Where measurements put files: memory, invisible from outside.
  static let folder = "/mnt"

  /// Runs this program again inside, with `arguments`; it dies with this one. Blocks until it ends; gives its status.
  ///
  /// It gets a session of its own, so that its share of the CPUs can be raised (sched(7), autogroup) and nobody else's.
  public static func rerun(_ arguments: [String]) throws -> Int32 {
    guard geteuid() == 0 else { throw BenchError("measuring makes namespaces and XDP programs: run it as root") }
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let dies = ["setpriv", "--pdeathsig", "KILL"]
    // Above what it starts in the real-time class, which takes all CPUs; its other children are as any process.
    let overseer = realTime.isEmpty ? [] : ["chrt", "--reset-on-fork", "--rr", "2"]
    let reporting = PageReporting()
    let child = try ChildProcess(
      dies + ["setsid", "--fork", "--wait"] + dies + ["unshare", "--net", "--mount", "--propagation", "private"]
        + overseer + [own] + arguments)
    // Whoever is inside is killed with this one, and puts nothing back. After the start: what is ignored would be inherited.
    let interruptions = [SIGINT, SIGTERM, SIGHUP].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        reporting.restore()
        signal(number, SIG_DFL)
        kill(getpid(), number)
      }
      source.resume()
      return source
    }
    defer {
      for interruption in interruptions { interruption.cancel() }
      reporting.restore()
    }
    return try child.wait()
  }

  /// What runs a program in the real-time class, its threads in turns: a busy neighbour, a compiler for example, else
  /// takes so much of the CPUs that programs seem ten times slower, or their order turns. Empty where it is forbidden.
  static let realTime: [String] = {
    let command = ["chrt", "--rr", "1"]
    let isAllowed = (try? ChildProcess(command + ["true"], errors: .file("/dev/null")).wait()) == 0
    return isAllowed ? command : []
  }()

  /// To be called once inside: file systems that show the new network, memory for files, the highest share of CPU.
  static func furnish() throws(BenchError) {
    // Without the last a busy neighbour in another session takes half of each CPU, whatever the niceness; for what does
    // not run in the real-time class.
    try Shell.run(
      """
      mount -t sysfs sysfs /sys
      mount -t bpf bpf /sys/fs/bpf
      mount -t tmpfs -o huge=always tmpfs \(folder) 2>/dev/null || mount -t tmpfs tmpfs \(folder)
      ip link set lo up
      [ ! -e /proc/self/autogroup ] || echo -20 >/proc/self/autogroup
      """)
  }
}

/// Commands that set up and read devices.
enum Shell {
  /// Runs lines of sh(1); throws with their output if one fails. Gives what they printed.
  @discardableResult
  static func run(_ lines: String) throws(BenchError) -> String {
    let path = "\(FileManager.default.temporaryDirectory.path)/sluice-bench-\(getpid())"
    defer { unlink(path) }
    let outcome: (status: CInt, output: String)
    do throws(SystemError) {
      let status = try ChildProcess(["sh", "-ec", "exec 2>&1\nPATH='\(Peers.searchPath)'\n\(lines)"], output: .file(path)).wait()
      outcome = (status, String(decoding: try SmallFile.read(path), as: UTF8.self))
    } catch { throw BenchError(error.description) }
    guard outcome.status == 0 else { throw BenchError("`\(lines)` failed: \(outcome.output)") }
    return outcome.output
  }
}
