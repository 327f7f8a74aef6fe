import Glibc

extension PrometheusRegistry {
  /// The usual `process_*` metrics of this process, read from /proc/self at each scrape.
  public func addProcessMetrics() {
    let startTime = ProcessStatistics.startTime()
    addCollector { exposition in ProcessStatistics.collect(into: &exposition, startTime: startTime) }
  }
}

extension PrometheusRegistry {
  /// - Parameter lost: Log records that were lost since the start, by destination; read at each scrape.
  public func addLogMetrics(lost: @escaping @Sendable () -> [(destination: String, count: UInt64)]) {
    addCollector { exposition in
      exposition.family(
        "sluice_log_records_lost_total", .counter, help: "Log records that their destination did not take in time."
      ) { family in
        for (destination, count) in lost() { family.sample(["destination": destination], count) }
      }
    }
  }
}

enum ProcessStatistics {
  /// Adds what can be read; a value that can't is left out.
  static func collect(into exposition: inout Exposition, startTime: Double?) {
    func gauge(_ name: String, _ help: String, _ value: Double?) {
      guard let value else { return }
      exposition.family(name, .gauge, help: help) { $0.sample(value) }
    }
    let memory = memory()
    gauge("process_start_time_seconds", "When the process started, seconds since 1970.", startTime)
    gauge("process_resident_memory_bytes", "Memory of the process in RAM.", memory?.resident)
    gauge("process_virtual_memory_bytes", "Address space of the process.", memory?.virtual)
    gauge("process_open_fds", "Open file descriptors.", openDescriptors().map(Double.init))
    gauge("process_max_fds", "Limit of open file descriptors.", descriptorLimit())
    gauge("process_threads", "Threads of the process.", threads().map(Double.init))
    if let seconds = cpuSeconds() {
      exposition.family("process_cpu_seconds_total", .counter, help: "CPU time, user and system.") {
        $0.sample(seconds)
      }
    }
  }

  private static func memory() -> (virtual: Double, resident: Double)? {
    let pages = read("/proc/self/statm")?.split(separator: " ").prefix(2).compactMap { Double($0) } ?? []
    let pageBytes = Double(sysconf(Int32(_SC_PAGESIZE)))
    return pages.count == 2 ? (pages[0] * pageBytes, pages[1] * pageBytes) : nil
  }

  private static func cpuSeconds() -> Double? {
    var usage = rusage()
    guard getrusage(RUSAGE_SELF.rawValue, &usage) == 0 else { return nil }
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  private static func descriptorLimit() -> Double? {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
    return limit.rlim_cur == rlim_t.max ? .infinity : Double(limit.rlim_cur)
  }

  private static func openDescriptors() -> Int? {
    // Without ".", ".." and the descriptor that reads the folder.
    entries("/proc/self/fd").map { $0 - 3 }
  }

  private static func threads() -> Int? { entries("/proc/self/task").map { $0 - 2 } }

  /// Entries of a folder, "." and ".." included.
  private static func entries(_ path: String) -> Int? {
    guard let folder = opendir(path) else { return nil }
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    return count
  }

  /// Seconds since 1970: boot time plus the start in clock ticks, field 22 of stat(5).
  static func startTime() -> Double? {
    guard let boot = read("/proc/stat")?.split(separator: "\n").first(where: { $0.hasPrefix("btime ") }),
      let bootTime = Double(boot.dropFirst(6)),
      // The name in parentheses may contain spaces: count from its end.
      let fields = read("/proc/self/stat")?.split(separator: ")").last?.split(separator: " "),
      fields.count > 19, let ticks = Double(fields[19])
    else { return nil }
    return bootTime + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// The text of a file in /proc, up to 64 KiB.
  private static func read(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(descriptor, &bytes, bytes.count)
    return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }
}
