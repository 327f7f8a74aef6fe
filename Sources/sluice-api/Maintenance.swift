import ArgumentParser
import Foundation
import Settings
import Storage

/// What the commands that work on the database, beside the service, have in common.
enum Maintenance {
  /// Runs `body` on the database of the settings, which is named first: the service may have its settings in an
  /// environment that this command has not. What `body` throws is printed, and ends the program with 1.
  ///
  /// - Parameter makesDatabase: whether a SQLite database that is not there may come to be.
  static func run(
    _ settings: APISettings, makesDatabase: Bool = false, _ body: (Storage.DatabaseSettings) async throws -> Void
  ) async throws {
    do {
      let database = settings.storage
      say("database: \(database)")
      if case .sqlite(let path) = database.backend, !makesDatabase, !FileManager.default.fileExists(atPath: path) {
        throw StartError("there is no database \(path); \(elsewhere)")
      }
      try await body(database)
    } catch let code as ExitCode { throw code } catch {
      say("sluice-api: \(error)")
      throw ExitCode.failure
    }
  }

  /// The remedy where it is the wrong database.
  static let elsewhere =
    "where the service has its database from its environment (/etc/sluice/sluice-api.env), give this command the same DB_… "
    + "variables, or put all but DB_PASS into /etc/sluice/sluice.yaml"

  /// One line on standard error.
  static func say(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }

  /// A value as JSON for people and programs, on standard output.
  static func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
    encoder.dateEncodingStrategy = .iso8601
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
  }
}
