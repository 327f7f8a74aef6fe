import Foundation
import LinuxSystem

/// What the numbers hold for.
public struct Machine: Codable, Hashable, Sendable {
  public var processor: String
  public var cpuCount: Int
  public var memoryBytes: UInt64
  public var kernel: String
  public var distribution: String
  /// Nanoseconds since 1970.
  public var time: UInt64
  /// By program, in its own words.
  public var versions: [String: String]

  /// For the foot of a table.
  var summary: String {
    let gigabytes = String(format: "%.0f", Double(memoryBytes) / 1e9)
    return "\(processor), \(cpuCount) CPUs, \(gigabytes) GB, Linux \(kernel), \(distribution)"
  }

  static func here(peers: Peers? = nil) -> Machine {
    let processors = (try? SmallFile.readText("/proc/cpuinfo", byteCountMax: 16 << 20)) ?? ""
    let system = (try? SmallFile.readText("/etc/os-release")) ?? ""
    var versions: [String: String] = [:]
    for (tool, path) in peers?.paths ?? [:] {
      // Those that have no such option say so in their first line: better than nothing is a package or a date.
      let text = try? Shell.run("'\(path)' --version 2>&1 </dev/null | head -n 1; true")
      versions[tool.rawValue] = text?.split(separator: "\n").first.map { String($0.prefix(120)) } ?? "unknown"
    }
    return Machine(
      processor: field("model name", in: processors, separator: ":") ?? "unknown",
      cpuCount: (try? Topology.onlineCPUs().count) ?? 0, memoryBytes: ProcessInfo.processInfo.physicalMemory,
      kernel: Kernel.release(), distribution: field("PRETTY_NAME", in: system, separator: "=") ?? "unknown",
      time: SystemClock.realtimeNanoseconds(), versions: versions)
  }

  /// The value of the first line `name SEPARATOR value`, without quotes.
  static func field(_ name: String, in text: String, separator: Character) -> String? {
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: separator, maxSplits: 1)
      guard parts.count == 2, parts[0].trimmingCharacters(in: .whitespaces) == name else { continue }
      return parts[1].trimmingCharacters(in: CharacterSet(charactersIn: " \t\""))
    }
    return nil
  }
}
