import Foundation
import LinuxSystem

/// Gives the receiving end of a veth a CPU of its own: its NAPI runs in a kernel thread (Documentation/networking/napi.rst,
/// "Threaded NAPI"), pinned and in the class of what is measured. Without it the sender's CPU also does the receiver's work,
/// which no sender to a wire does.
enum ReceiverThread {
  /// To be called once the device has NAPI: a veth does while it has an XDP program.
  static func start(for device: String, cpu: Int) throws(BenchError) {
    let before = threads(of: device)
    try Shell.run("echo 1 >/sys/class/net/\(device)/threaded")
    let new = threads(of: device).subtracting(before)
    guard !new.isEmpty else { throw BenchError("the kernel made no NAPI thread for \(device)") }
    for thread in new {
      try Shell.run("taskset -pc \(cpu) \(thread)\n\(Enclosure.realTime.isEmpty ? "" : "chrt -r -p 1 \(thread)")")
    }
  }

  /// Kernel threads named for the device; also those of namesakes in other namespaces.
  private static func threads(of device: String) -> Set<String> {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return Set(
      all.filter { entry in
        entry.allSatisfy(\.isNumber)
          && (try? SmallFile.readText("/proc/\(entry)/comm"))?.hasPrefix("napi/\(device)-") == true
      })
  }
}
