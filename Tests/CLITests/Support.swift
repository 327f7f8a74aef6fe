import Foundation
import Testing

/// What a run of the built command left.
struct Run {
  var status: Int32
  var output: String
  var errors: String
}

/// The command as it was built beside these tests.
let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
  .appending(path: "sluice")

/// Runs the built command with a home of its own, in a network namespace if one is named.
func sluice(
  _ arguments: [String], home: URL, input: String = "", environment: [String: String] = [:], namespace: String? = nil
) async throws -> Run {
  try await withCheckedThrowingContinuation { done in
    Thread.detachNewThread {
      done.resume(
        with: Result {
          let process = Process()
          process.executableURL = namespace == nil ? executable : URL(filePath: "/bin/ip")
          process.arguments = (namespace.map { ["netns", "exec", $0, executable.path] } ?? []) + arguments
          process.environment = ["HOME": home.path, "PATH": "/usr/bin:/bin", "TERM": "dumb"]
            .merging(environment) { _, own in own }
          let (standardInput, output, errors) = (Pipe(), Pipe(), Pipe())
          process.standardInput = standardInput
          process.standardOutput = output
          process.standardError = errors
          try process.run()
          try standardInput.fileHandleForWriting.write(contentsOf: Data(input.utf8))
          try standardInput.fileHandleForWriting.close()
          // Answers here fit in a pipe: reading one after the other cannot block the command.
          let said = try output.fileHandleForReading.readToEnd() ?? Data()
          let complained = try errors.fileHandleForReading.readToEnd() ?? Data()
          process.waitUntilExit()
          return Run(
            status: process.terminationStatus, output: String(decoding: said, as: UTF8.self),
            errors: String(decoding: complained, as: UTF8.self))
        })
    }
  }
}

/// Runs a script of bash, whose `$1` is the built command.
func shell(_ script: String) throws -> Run {
  let process = Process()
  process.executableURL = URL(filePath: "/bin/bash")
  process.arguments = ["-c", script, "bash", executable.path]
  let (output, errors) = (Pipe(), Pipe())
  (process.standardOutput, process.standardError) = (output, errors)
  try process.run()
  let said = output.fileHandleForReading.readDataToEndOfFile()
  let complained = errors.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return Run(
    status: process.terminationStatus, output: String(decoding: said, as: UTF8.self),
    errors: String(decoding: complained, as: UTF8.self))
}

/// A folder of its own for `body`, removed afterwards.
func withFolder<Result>(_ body: (URL) async throws -> Result) async throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appending(path: "sluice-cli-\(UUID().uuidString.prefix(13))")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try await body(folder)
}

func mode(_ url: URL) throws -> Int {
  try #require(FileManager.default.attributesOfItem(atPath: url.path)[.posixPermissions] as? Int)
}
