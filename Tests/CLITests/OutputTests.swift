import Foundation
import Testing

@testable import sluice

@Suite("What a command prints, and where it can't")
struct OutputTests {
  @Test("A reader that goes ends the command as it ends any other, also where the signal is ignored at first")
  func closedPipe() throws {
    let run = try shell("trap '' PIPE; \"$1\" bench --list | (exec <&-; sleep 1); exit ${PIPESTATUS[0]}")
    #expect(run.status == 128 + SIGPIPE && run.errors.isEmpty, "\(run)")
  }

  @Test("A full disk is an error that says so")
  func fullDisk() throws {
    let run = try shell("\"$1\" bench --list > /dev/full")
    #expect(run.status == 1 && run.errors.contains("ENOSPC"), "\(run)")
  }

  @Test("The list of works and programs is JSON where it is asked for")
  func list() async throws {
    try await withFolder { home in
      let run = try await sluice(["bench", "--list", "--json"], home: home)
      let list = try #require(JSON.parse(run.output.utf8))
      #expect(list["works"].elements.contains { $0["name"] == "rx-drop" } && !list["programs"].elements.isEmpty)
    }
  }

  @Test("Names in an error are shown without what a terminal would obey; its lines stay")
  func hostileNames() {
    let error = CommandError(
      .usage, "usage", "rule \u{1b}[2Jx:\n  ^", details: [["path": "rules[0]", "message": "\u{9b}31m is wrong"]])
    #expect(error.text == "error: rule ?[2Jx:\n  ^\n  rules[0]: ?31m is wrong")
  }

  @Test("! is of one list: beside another option of the field it is no negation of both", arguments: [["!10.0.0.0/8", "192.0.2.1"], ["192.0.2.1", "!10.0.0.0/8"]])
  func negation(_ sources: [String]) throws {
    let options = try MatchOptions.parse(sources.flatMap { ["--source", $0] })
    #expect(throws: CommandError.self) { try options.json() }
    let one = try MatchOptions.parse(["--source", "!10.0.0.0/8,192.0.2.1"])
    #expect(try one.json()["sources"] == ["not": ["10.0.0.0/8", "192.0.2.1"]])
  }

  @Test("A new file of a capture needs a number of files, or the capture would end there")
  func fileBytes() async throws {
    try await withFolder { home in
      let run = try await sluice(["capture", "start", "eth0", "--file-bytes", "1000000"], home: home)
      #expect(run.status == 2 && run.errors.contains("--files"), "\(run)")
    }
  }
}
