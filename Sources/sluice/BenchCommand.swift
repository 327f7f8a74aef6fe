import ArgumentParser
import Bench
import Foundation

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure this machine's packet paths beside other programs.",
    discussion: """
      Makes network namespaces and veth pairs of its own, which go with it, and measures by the devices' counters what \
      arrives, not what a program says. The sender runs on CPU 0, the measured program on CPU 1. Every program runs in \
      every round, in turning order; the table shows medians, and ratios within rounds. Programs that nothing but the \
      CPU slows run in the real-time class, before all else on the machine. Needs root and two CPUs that have nothing \
      else to do; takes minutes.

      Other programs are measured beside it where they are installed or in the folder --peers; --list tells which are \
      here and where the others come from. A `preload.so` in that folder is loaded into them.

      EXAMPLES
        sluice bench --list
        sluice bench rx-drop forward --rounds 3
        sluice bench --json > bench.json
        sluice bench --peers ~/peers --markdown README.md
      """,
    subcommands: [BenchRun.self, BenchRules.self, BenchSets.self, BenchSubject.self], defaultSubcommand: BenchRun.self)
}

struct BenchRun: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "run", abstract: "Measure. [the default]")

  @Argument(help: "What to measure; --list shows the names. [all]")
  var works: [String] = []

  @Option(help: "How often each program runs, 1 to 100; captures, which are searches, and idle half as often.")
  var rounds = 5

  @Option(help: "How long each measurement lasts, 0.1 to 60.")
  var seconds = 2.0

  @Option(help: "A folder of programs to measure beside it, before PATH.")
  var peers: String?

  @Option(help: "Write the table into this file, between the lines \(MarkedPlace.paths.start) and \(MarkedPlace.paths.end).")
  var markdown: String?

  @Option(help: "Write the JSON into this file too.")
  var output: String?

  @Flag(help: "Show what can be measured and which programs are here.")
  var list = false

  @Flag(help: .hidden)
  var inside = false

  @OptionGroup var outputOptions: OutputOptions

  func run() throws {
    let chosen = try chosenWorks()
    guard (1...100).contains(rounds) else { throw CommandError.usage("--rounds \(rounds) is out of range: 1 to 100") }
    guard seconds >= 0.1, seconds <= 60 else {
      throw CommandError.usage("--seconds \(seconds) is out of range: 0.1 to 60")
    }
    if list { return outputOptions.output.write(BenchText.json(peers: peers), BenchText.list(peers: peers)) }
    do {
      guard inside else {
        // The enclosure is made for a program when it starts: this one, with the same arguments.
        let status = try Enclosure.rerun(["bench", "run", "--inside"] + arguments())
        if status != 0 { throw ExitCode(status) }
        return
      }
      let plan = BenchPlan(works: chosen, rounds: rounds, seconds: seconds, peersFolder: peers)
      let contest = try Contest(plan) { Terminal.printError(Terminal.safe($0)) }
      try write(try contest.run())
    } catch let error as BenchError {
      throw CommandError(.failure, "bench_failed", error.description)
    }
  }

  private func write(_ report: BenchReport) throws {
    let json = try report.json()
    Terminal.print(outputOptions.json ? json : ([report.table] + report.notes).joined(separator: "\n"))
    if let output { try (json + "\n").write(toFile: output, atomically: true, encoding: .utf8) }
    if let markdown { try MarkedPlace.paths.write(report.markdown, into: markdown) }
  }

  private func chosenWorks() throws(CommandError) -> [Work] {
    if works.isEmpty { return Work.allCases }
    var chosen: [Work] = []
    for name in works {
      guard let work = Work(rawValue: name) else {
        throw .usage("there is no \"\(name)\"; there are \(Work.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      chosen.append(work)
    }
    return chosen
  }

  private func arguments() -> [String] {
    var arguments = works + ["--rounds", "\(rounds)", "--seconds", "\(seconds)"]
    for (name, value) in [("--peers", peers), ("--markdown", markdown), ("--output", output)] {
      if let value { arguments += [name, value] }
    }
    return arguments + (outputOptions.json ? ["--json"] : [])
  }
}

extension MarkedPlace {
  /// Replaces what stands at the place in a file.
  func write(_ text: String, into path: String) throws {
    guard let document = replace(in: try String(contentsOfFile: path, encoding: .utf8), with: text) else {
      throw CommandError(.failure, "no_mark", "\(path) lacks the two lines that --markdown writes between: \(start) and \(end)")
    }
    try document.write(toFile: path, atomically: true, encoding: .utf8)
  }
}

enum BenchText {
  static func json(peers folder: String?) -> JSON {
    let paths = Peers(folder: folder).paths
    return [
      "works": .array(Work.allCases.map { ["name": .string($0.rawValue), "summary": .string($0.summary)] }),
      "programs": .array(
        PeerTool.allCases.map {
          ["name": .string($0.rawValue), "path": .optional(paths[$0]), "origin": .string($0.origin)]
        }),
    ]
  }

  static func list(peers folder: String?) -> String {
    var works = Table("WORK", "WHAT")
    for work in Work.allCases { works.add(work.rawValue, work.summary) }
    let peers = Peers(folder: folder)
    var tools = Table("PROGRAM", "WHERE", "FROM")
    for tool in PeerTool.allCases { tools.add(tool.rawValue, peers.paths[tool] ?? "missing", tool.origin) }
    return works.text + "\n\n" + tools.text
  }
}
