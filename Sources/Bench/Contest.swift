import Foundation
import LinuxSystem

/// What to measure, how often and how long.
public struct BenchPlan: Sendable {
  public var works: [Work]
  public var rounds: Int
  /// Of one measurement, after the warm-up.
  public var seconds: Double
  /// Where peers are looked for before PATH.
  public var peersFolder: String?

  public init(works: [Work], rounds: Int, seconds: Double, peersFolder: String?) {
    self.works = works
    self.rounds = rounds
    self.seconds = seconds
    self.peersFolder = peersFolder
  }
}

/// Measures works, every program in every round, the order turned each time: what drifts meets all alike.
///
/// One thread uses it, inside the ``Enclosure``, which it furnishes.
public struct Contest {
  private let plan: BenchPlan
  private let peers: Peers
  private let ownPath: String
  private let progress: (String) -> Void

  /// - Parameter progress: Told a line after each measurement.
  public init(_ plan: BenchPlan, progress: @escaping (String) -> Void) throws {
    self.plan = plan
    self.progress = progress
    peers = Peers(folder: plan.peersFolder)
    ownPath = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    try Enclosure.furnish()
  }

  /// A program that cannot be run or measured is left out with its reason; ours must run.
  public func run() throws -> BenchReport {
    var report = BenchReport(machine: Machine.here(peers: peers), rounds: plan.rounds, seconds: plan.seconds)
    for work in plan.works { report.results.append(try run(work)) }
    return report
  }

  private func run(_ work: Work) throws -> WorkResult {
    let arena = Arena(work: work, peers: peers, seconds: plan.seconds, ownPath: ownPath)
    let load = work == .latency ? try latencyLoad(arena) : nil
    let memory = work.isCapture ? try WarmMemory(byteCount: arena.captureByteCountMax) : nil
    defer { withExtendedLifetime(memory) {} }
    let all = work.contestants(farMAC: "02:00:00:00:00:01")
    var result = WorkResult(work: work)
    for contestant in all {
      let command = ([contestant.tool?.rawValue ?? "sluice"] + contestant.arguments).joined(separator: " ")
      result.programs.append(ProgramResult(name: contestant.name, command: command))
      if let tool = contestant.tool, peers.paths[tool] == nil {
        result.programs[result.programs.count - 1].reason = "\(tool.rawValue) is not installed (\(tool.origin))"
      }
    }
    for round in 0..<work.rounds(of: plan.rounds) {
      let order = round % 2 == 0 ? Array(all.indices) : all.indices.reversed()
      for index in order where result.programs[index].reason == nil {
        try measure(arena, &result.programs[index], round: round, load: load)
      }
    }
    return result
  }

  /// What is offered where delay is measured: a tenth of what ours carries. The same for all.
  private func latencyLoad(_ arena: Arena) throws -> Double? {
    let most = try arena.measure(ProgramResult.ownName).values["rate"]
    return most.map { ($0 / 10 / 1000).rounded() * 1000 }
  }

  private func measure(_ arena: Arena, _ program: inout ProgramResult, round: Int, load: Double?) throws {
    let head = "\(arena.work.rawValue) \(round + 1)/\(arena.work.rounds(of: plan.rounds))"
    do {
      let sample: Sample
      switch arena.work {
      case .capture, .captureLarge:
        let guess = program.samples.last?.values["rate"]
        sample = try arena.capture(program.name, guess: guess) { progress("\(head) \($0)") }
      case .filter10, .filter100, .filter1000, .filter10000, .filter100000: sample = try arena.filter(program.name)
      case .latency: sample = try arena.latency(program.name, packetsPerSecond: load ?? 0)
      default: sample = try arena.measure(program.name)
      }
      program.samples.append(sample)
      let values = arena.work.metrics.compactMap { metric in
        sample.values[metric.name].map { "\(metric.name) \(metric.unit.text($0))" }
      }
      let account = sample.unexplained.map { ", \(sample.lost ?? 0) lost, \($0) unexplained" } ?? ""
      progress("\(head) \(program.name): \(values.joined(separator: ", "))\(account)")
    } catch {
      if program.isOwn { throw error }
      program.reason = "\(error)"
      progress("\(head) \(program.name): \(error)")
    }
  }
}
