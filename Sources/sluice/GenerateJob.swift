import LinuxSystem
import Packets
import Traffic
import XDPPrograms

/// What one run of `sluice generate` is to do, checked.
struct GenerateJob {
  var plan: TrafficPlan
  var pace = TrafficPace.unlimited
  var durationNanoseconds: UInt64?
  var burst: UInt32
  /// One for each thread; nil: wherever the kernel puts it.
  var cpus: [Int?]
  /// What may surprise, for people.
  var notes: [String] = []
}

extension Generate {
  /// - Parameter hardwareAddress: Of the interface; nil where it is not known.
  func job(hardwareAddress: [UInt8]?) throws -> GenerateJob {
    try checkNumbers()
    if latency && receive == nil {
      throw CommandError.usage("--latency needs --receive: the interface where frames arrive")
    }
    if latency && pcap != nil { throw CommandError.usage("--latency writes into payloads: --pcap excludes it") }
    let cpus = try threadCPUs()
    let rate = try rate.flatMap { $0 == "max" ? nil : $0 }.map { text in try parse("--rate", text, TrafficRate.init) }
    let ramp = try ramp.map { text in
      try parse("--ramp", text) { text throws(TrafficError) in try TrafficRamp(parsing: text, whole: rate) }
    }
    var job: GenerateJob
    if let pcap {
      job = try captureJob(pcap, cpus: cpus, isPaced: ramp != nil || rate.map { $0.millionths > 0 } ?? false)
    } else {
      let plan = try self.plan(hardwareAddress: hardwareAddress)
      job = GenerateJob(plan: plan, burst: burst, cpus: cpus)
    }
    if let note = GenerateText.note(job.plan) { job.notes.append(note) }
    job.durationNanoseconds = try duration.map { UInt64(try Quantity.milliseconds($0)) * 1_000_000 }
    if let ramp {
      let steps = try ramp.steps.map { (rate: try packetRate($0.rate, job.plan), nanoseconds: $0.nanoseconds) }
      job.pace = TrafficPace(ramp: steps)
      let whole = steps.reduce(0) { $0 + $1.nanoseconds }
      guard whole <= TrafficLimits.durationNanosecondsMax else { throw CommandError.usage("--ramp: longer than 31 days") }
      job.durationNanoseconds = min(job.durationNanoseconds ?? whole, whole)
    } else if let rate, rate.millionths > 0 {
      job.pace = TrafficPace(try packetRate(rate, job.plan))
    }
    return job
  }

  private func packetRate(_ rate: TrafficRate, _ plan: TrafficPlan) throws(CommandError) -> PacketRate {
    let totals = plan.totals
    guard let packetRate = rate.packetRate(byteCount: totals.bytes, frameCount: totals.frames) else {
      throw .usage("\(rate) of these frames are more than 1 Gpps, or less than a packet in 200 years")
    }
    return packetRate
  }

  private func parse<Value>(
    _ option: String, _ text: String, _ body: (String) throws(TrafficError) -> Value
  ) throws(CommandError) -> Value {
    do throws(TrafficError) {
      return try body(text)
    } catch {
      throw .usage("\(option): \(error.description)")
    }
  }

  private func checkNumbers() throws(CommandError) {
    if let count, !(1...TrafficLimits.packetCountMax).contains(count) {
      throw .usage("--count \(count) is out of range: 1 to \(TrafficLimits.packetCountMax) packets")
    }
    guard (1...64512).contains(flows) else {
      throw .usage("--flows \(flows) is out of range: 1 to 64512, one for each source port from 1024 on")
    }
    guard (1...TrafficRun.sliceMax).contains(burst) else {
      throw .usage("--burst \(burst) is out of range: 1 to \(TrafficRun.sliceMax)")
    }
    guard (0...TrafficLimits.frameCountMax).contains(showFrames), showFrames == 0 || dryRun else {
      throw .usage("--show-frames takes 0 to \(TrafficLimits.frameCountMax) and goes with --dry-run")
    }
    if let setVlan, !(1...4094).contains(setVlan) { throw .usage("--set-vlan \(setVlan) is out of range: 1 to 4094") }
    if pcap != nil, !flowTexts.isEmpty || flows > 1 || size != nil {
      throw .usage("--pcap sends the file's packets as they are: --flow, --flows and --size exclude it")
    }
    if pcap == nil {
      let options: [(String, Bool)] = [
        ("--truncate", truncate), ("--loops", loops != nil), ("--replay-speed", replaySpeed != nil),
        ("--set-vlan", setVlan != nil), ("--strip-vlan", stripVlan), ("--map", !maps.isEmpty),
      ]
      if let option = options.first(where: { $0.1 }) { throw .usage("\(option.0) is for --pcap") }
    }
    if setVlan != nil && stripVlan { throw .usage("--set-vlan and --strip-vlan exclude each other") }
    if loops != nil && count != nil { throw .usage("--loops and --count exclude each other: both say how many packets") }
  }

  private func threadCPUs() throws(CommandError) -> [Int?] {
    if let threads, !(1...TrafficLimits.threadCountMax).contains(threads) {
      throw .usage("--threads \(threads) is out of range: 1 to \(TrafficLimits.threadCountMax)")
    }
    guard let cpus else {
      let count = threads ?? 1
      guard latency, let allowed = try? Topology.allowedCPUs(), !allowed.isEmpty else {
        return Array(repeating: nil, count: count)
      }
      return (0..<count).map { allowed[$0 % allowed.count] }
    }
    guard let numbers = Topology.parseList(cpus), !numbers.isEmpty, numbers.count <= TrafficLimits.threadCountMax else {
      throw .usage("--cpus \(ValueTextError.excerpt(cpus)): write 0,1 or 2-5, at most \(TrafficLimits.threadCountMax)")
    }
    if let threads, threads != numbers.count {
      throw .usage("--threads \(threads) and \(numbers.count) CPUs: each thread has one")
    }
    let allowed = (try? Topology.allowedCPUs()) ?? numbers
    if let missing = numbers.first(where: { !allowed.contains($0) }) {
      let list = allowed.map(String.init).joined(separator: ",")
      throw .usage("--cpus: CPU \(missing) is not there or not allowed; there are \(list)")
    }
    return numbers
  }

  private func plan(hardwareAddress: [UInt8]?) throws -> TrafficPlan {
    do {
      var options = TrafficPlan.Options()
      if let destinationMac { options.destinationMAC = try MACAddress(parsing: destinationMac) }
      if let hardwareAddress, hardwareAddress.count == 6 {
        options.sourceMAC = MACAddress(value: hardwareAddress.reduce(0) { $0 << 8 | UInt64($1) })
      }
      if let sourceMac { options.sourceMAC = try MACAddress(parsing: sourceMac) }
      options.frameSizes = try size.map { text in try parse("--size", text, FrameSizes.init) }
      options.sourcePortCount = flows
      options.packetCount = count
      options.seed = seed
      if latency { options.stampByteCount = TrafficGenerator.stampByteCount }
      return try TrafficPlan(try flowTexts.map(FlowSpecification.init(parsing:)), options: options)
    } catch let error as TrafficError {
      throw CommandError.usage(error.description)
    } catch let error as ValueTextError {
      throw CommandError.usage(error.description)
    }
  }

  private func rewrite() throws -> FrameRewrite {
    var rewrite = FrameRewrite()
    do {
      rewrite.destinationMAC = try destinationMac.map(MACAddress.init(parsing:))
      rewrite.sourceMAC = try sourceMac.map(MACAddress.init(parsing:))
    } catch {
      throw CommandError.usage(error.description)
    }
    if let setVlan { rewrite.vlan = .set(setVlan) }
    if stripVlan { rewrite.vlan = .strip }
    rewrite.addresses = try maps.map { text in try parse("--map", text, FrameRewrite.AddressMap.init) }
    return rewrite
  }

  private func captureJob(_ path: String, cpus: [Int?], isPaced: Bool) throws -> GenerateJob {
    let rewrite = try rewrite()
    let speed = try self.speed()
    if speed != nil, isPaced { throw CommandError.usage("--replay-speed and --rate both say how fast: give one of them") }
    let bytes: [UInt8]
    do {
      bytes = try SmallFile.read(path, byteCountMax: CaptureFile.byteCountMax)
    } catch {
      throw CommandError(.failure, "capture_unreadable", error.description)
    }
    do throws(TrafficError) {
      var file = try CaptureFile(parsing: bytes)
      try file.checkHeaders()
      file.rewrite(rewrite)
      try file.fit(truncates: truncate)
      let isOnce = duration == nil && ramp == nil
      let frameCount = UInt64(file.frames.count)
      let looped = try loops.map { loops throws(TrafficError) in
        let (packets, overflow) = frameCount.multipliedReportingOverflow(by: loops)
        guard loops > 0, !overflow, packets <= TrafficLimits.packetCountMax else {
          throw TrafficError("--loops \(loops) of \(frameCount) packets is out of range")
        }
        return packets
      }
      let plan = TrafficPlan(
        name: "pcap", frames: file.frames, packetCount: count ?? looped ?? (isOnce ? frameCount : nil))
      var job = GenerateJob(plan: plan, burst: burst, cpus: cpus)
      if file.cutCount > 0 {
        job.notes.append("the capture kept only the beginning of \(file.cutCount) packets; that is sent")
      }
      if let speed {
        let (pace, outOfOrder) = try file.pace(speedMillionths: speed)
        job.pace = pace
        if pace.isUnlimited { job.notes.append("all packets were captured at one time: they are sent at once") }
        if outOfOrder > 0 {
          job.notes.append("\(outOfOrder) packets are older than the one before them; they follow it at once")
        }
      }
      return job
    } catch {
      throw CommandError(.failure, "capture_unusable", "\(path): \(error)")
    }
  }

  /// Millionths of the recorded speed; nil: without gaps.
  private func speed() throws(CommandError) -> UInt64? {
    guard let replaySpeed, replaySpeed != "max" else { return nil }
    let number = replaySpeed.hasSuffix("x") ? Double(replaySpeed.dropLast()) : nil
    guard let number, number >= 0.001, number <= 100_000 else {
      throw .usage(
        "--replay-speed \(ValueTextError.excerpt(replaySpeed)): write max, or 1x, 0.5x, 10x; 0.001x to 100000x")
    }
    if cpus != nil || threads ?? 1 > 1 {
      throw .usage("--replay-speed keeps the capture's order, which one thread does: leave --threads and --cpus out")
    }
    return UInt64((number * 1_000_000).rounded())
  }
}
